// Package cerbosjson writes diagnostics in the JSON of `cerbos compile -o json`,
// so that scripts made for Cerbos read what Edict says.
//
// The names, the nesting and the kinds of mistakes are those of Cerbos 0.55.
// What Edict knows beyond them stands in fields of their own: code, severity,
// hint, docs, related, and place, which is where exactly the mistake is, while
// position names the field that holds it.
//
// What always holds here:
//
//  1. A field that Cerbos has has its name, its type and its meaning.
//  2. Files are relative to the policy folder, as Cerbos names them; those of
//     route maps, which Cerbos does not have, are as the user gave them.
//  3. Every diagnostic of the list is in the document.
//  4. Equal lists give equal documents.
package cerbosjson
