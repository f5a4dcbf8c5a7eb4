// Package schemas holds the JSON Schemas of the files that Edict reads, for
// editors: they complete and check what somebody writes, and show what a field
// means.
//
// What always holds here:
//
//  1. The schemas are of draft 7, which the YAML language servers of editors
//     know, and need no other file.
//  2. A field is in a schema if and only if Edict's reader knows it, and has a
//     description.
//  3. What a schema refuses is refused by Edict, too, or is written in a way
//     that Edict only tolerates: fields in snake_case, effects as numbers,
//     nulls. The other way round there is much that only Edict finds.
package schemas
