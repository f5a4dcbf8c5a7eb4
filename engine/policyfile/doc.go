// Package policyfile reads policies in the Cerbos format: YAML or JSON files,
// one policy each, in a folder.
//
// What always holds here:
//
//  1. Parse gives a policy or diagnostics, never both; an empty file gives
//     neither. A policy that was given has the shape that its kind demands.
//  2. All that is wrong with a file is reported at once, with its place and,
//     where there is one, the mend.
//  3. A file that is meant as a policy is never left out in silence: Load
//     gives a diagnostic for each file and folder that it cannot read.
//  4. Null stands for an empty string, a number or a name. Where a mapping, a
//     list or a boolean belongs it is a mistake, and not the same as no field.
//  5. Expressions are text here. Whether they are CEL, and whether names in
//     them exist, is found when policies are compiled.
package policyfile
