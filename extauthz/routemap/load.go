package routemap

import (
	"edict/engine/diag"
	"edict/engine/folder"
)

// ParseAll parses the files of a folder of route maps. The route maps are all
// there are only if the list is empty.
func ParseAll(files []folder.File) ([]*File, diag.List) {
	var out []*File
	var list diag.List
	for _, f := range files {
		parsed, l := Parse(f.Name, f.Content)
		list = append(list, l...)
		if parsed != nil {
			out = append(out, parsed)
		}
	}
	return out, list
}
