package schemas

import "embed"

//go:embed files/*.schema.json
var files embed.FS

// A Kind is a kind of file that there is a schema for.
type Kind struct {
	Name string // what `edict schema` calls it
	For  string // which files it is for
}

// Kinds gives all kinds.
func Kinds() []Kind {
	return []Kind{
		{"policy", "policies, of every kind"},
		{"test", "suites of policy tests, *_test.yaml"},
		{"principals", "testdata/principals.yaml beside policy tests"},
		{"resources", "testdata/resources.yaml beside policy tests"},
		{"auxdata", "testdata/auxdata.yaml beside policy tests"},
		{"routes", "route maps"},
		{"routetest", "tests of routes, *_test.yaml beside route maps"},
		{"config", "the configuration, as of `edict serve --config`"},
	}
}

// Names gives the names of all kinds.
func Names() []string {
	var out []string
	for _, k := range Kinds() {
		out = append(out, k.Name)
	}
	return out
}

// FileName gives the name of the file that holds the schema of a kind.
func FileName(kind string) string { return kind + ".schema.json" }

// Schema gives the JSON Schema of a kind. It answers false if there is no such
// kind.
func Schema(kind string) ([]byte, bool) {
	content, err := files.ReadFile("files/" + FileName(kind))
	return content, err == nil
}
