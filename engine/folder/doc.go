// Package folder reads the files of a folder tree, or of an archive of one:
// policies, schemas, route maps.
//
// What always holds here:
//
//  1. Files come in the lexical order of their paths, so that what is loaded
//     does not depend on the file system.
//  2. Names that begin with a dot are not read, nor folders that the caller
//     skips.
//  3. Symbolic links are followed, since Kubernetes mounts folders of links. A
//     link to a folder that holds it is reported, not followed. Archives may
//     hold no links.
//  4. What can't be read is a diagnostic. A caller must not go on with a part
//     of a folder.
//  5. A Cache gives what reading without it would give: a file is taken as
//     unchanged only if it is the same file with the same size and time of
//     change, and that time lies so far before the last reading that no later
//     change can have left it as it was.
//  6. Work is bounded: by MaxDepth, MaxFolders and, of an archive,
//     MaxArchiveSize and MaxArchiveEntries, whatever the archive claims.
package folder
