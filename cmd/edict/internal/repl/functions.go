package repl

import "strings"

// A function is one form of a function or macro of the policy language.
type function struct {
	receiver string // the type it is a member of; empty: of none
	name     string // with its namespace, as in math.abs
	params   string // types, or names for what a macro takes
	result   string
}

// signature gives the function as documentation writes it.
func (f function) signature() string {
	text := f.name + "(" + f.params + ") → " + f.result
	if f.receiver != "" {
		text = f.receiver + "." + text
	}
	return text
}

// fits tells whether a value of a type may have the function as a member.
func (f function) fits(typ string) bool {
	base, _, _ := strings.Cut(typ, "(")
	switch base = shortType(base); base {
	case "dyn":
		return f.receiver != ""
	case "optional_type":
		base = "optional"
	case "Timestamp", "Duration":
		base = strings.ToLower(base)
	}
	return f.receiver == base
}

// functions gives what expressions can call, by topic.
func functions() []function {
	return []function{
		// Macros.
		{"", "has", "a.b", "bool"},
		{"list", "all", "x, condition", "bool"}, {"map", "all", "key, condition", "bool"},
		{"list", "exists", "x, condition", "bool"}, {"map", "exists", "key, condition", "bool"},
		{"list", "exists_one", "x, condition", "bool"}, {"map", "exists_one", "key, condition", "bool"},
		{"list", "filter", "x, condition", "list"}, {"map", "filter", "key, condition", "list"},
		{"list", "map", "x, value", "list"}, {"map", "map", "key, value", "list"},
		{"list", "transformList", "index, x, value", "list"}, {"map", "transformList", "key, x, value", "list"},
		{"list", "transformMap", "index, x, value", "map"}, {"map", "transformMap", "key, x, value", "map"},
		{"list", "existsOne", "index, x, condition", "bool"}, {"map", "existsOne", "key, x, condition", "bool"},
		{"list", "transformMapEntry", "index, x, entry", "map"}, {"map", "transformMapEntry", "key, x, entry", "map"},
		{"list", "sortBy", "x, value", "list"}, {"optional", "optMap", "x, value", "optional"},
		{"optional", "optFlatMap", "x, optional", "optional"},
		{"", "cel.bind", "x, value, expression", "dyn"},

		// Conversions.
		{"", "bool", "string", "bool"}, {"", "bytes", "string", "bytes"}, {"", "double", "string", "double"},
		{"", "duration", "string", "duration"}, {"", "dyn", "any", "dyn"}, {"", "int", "string", "int"},
		{"", "string", "int", "string"}, {"", "timestamp", "string", "timestamp"}, {"", "type", "any", "type"},
		{"", "uint", "string", "uint"}, {"", "size", "list", "int"}, {"list", "size", "", "int"},
		{"map", "size", "", "int"}, {"string", "size", "", "int"}, {"bytes", "size", "", "int"},

		// Strings.
		{"string", "charAt", "int", "string"}, {"string", "contains", "string", "bool"}, {"string", "endsWith", "string", "bool"},
		{"string", "format", "list", "string"}, {"string", "indexOf", "string", "int"}, {"string", "lastIndexOf", "string", "int"},
		{"string", "lowerAscii", "", "string"}, {"string", "matches", "string", "bool"}, {"string", "replace", "string, string", "string"},
		{"string", "reverse", "", "string"}, {"string", "split", "string", "list"}, {"string", "startsWith", "string", "bool"},
		{"string", "substring", "int, int", "string"}, {"string", "trim", "", "string"}, {"string", "upperAscii", "", "string"},
		{"list", "join", "string", "string"}, {"", "strings.quote", "string", "string"},
		{"", "regex.extract", "string, string", "optional"}, {"", "regex.extractAll", "string, string", "list"},
		{"", "regex.replace", "string, string, string", "string"},
		{"", "base64.decode", "string", "bytes"}, {"", "base64.encode", "bytes", "string"},
		{"", "json.encode", "any", "string"},

		// Lists and sets.
		{"list", "distinct", "", "list"}, {"list", "first", "", "optional"}, {"list", "last", "", "optional"},
		{"list", "flatten", "", "list"}, {"list", "reverse", "", "list"}, {"list", "slice", "int, int", "list"},
		{"list", "sort", "", "list"}, {"", "lists.range", "int", "list"},
		{"list", "except", "list", "list"}, {"list", "hasIntersection", "list", "bool"}, {"list", "intersect", "list", "list"},
		{"list", "isSubset", "list", "bool"}, {"", "except", "list, list", "list"}, {"", "hasIntersection", "list, list", "bool"},
		{"", "intersect", "list, list", "list"}, {"", "isSubset", "list, list", "bool"},
		{"", "sets.contains", "list, list", "bool"}, {"", "sets.equivalent", "list, list", "bool"}, {"", "sets.intersects", "list, list", "bool"},

		// Numbers.
		{"", "math.abs", "double", "double"}, {"", "math.ceil", "double", "double"}, {"", "math.floor", "double", "double"},
		{"", "math.greatest", "double, double", "double"}, {"", "math.least", "double, double", "double"},
		{"", "math.round", "double", "double"}, {"", "math.sign", "double", "double"}, {"", "math.sqrt", "double", "double"},
		{"", "math.trunc", "double", "double"}, {"", "math.isFinite", "double", "bool"}, {"", "math.isInf", "double", "bool"},
		{"", "math.isNaN", "double", "bool"},
		{"", "math.bitAnd", "int, int", "int"}, {"", "math.bitNot", "int", "int"}, {"", "math.bitOr", "int, int", "int"},
		{"", "math.bitShiftLeft", "int, int", "int"}, {"", "math.bitShiftRight", "int, int", "int"}, {"", "math.bitXor", "int, int", "int"},

		// Time.
		{"", "now", "", "timestamp"}, {"", "timeSince", "timestamp", "duration"}, {"timestamp", "timeSince", "", "duration"},
		{"timestamp", "getDate", "", "int"}, {"timestamp", "getDayOfMonth", "", "int"}, {"timestamp", "getDayOfWeek", "", "int"},
		{"timestamp", "getDayOfYear", "", "int"}, {"timestamp", "getFullYear", "", "int"}, {"timestamp", "getHours", "", "int"},
		{"timestamp", "getHours", "string", "int"}, {"timestamp", "getMilliseconds", "", "int"}, {"timestamp", "getMinutes", "", "int"},
		{"timestamp", "getMonth", "", "int"}, {"timestamp", "getSeconds", "", "int"},
		{"duration", "getHours", "", "int"}, {"duration", "getMilliseconds", "", "int"}, {"duration", "getMinutes", "", "int"},
		{"duration", "getSeconds", "", "int"},

		// Networks.
		{"string", "inIPAddrRange", "string", "bool"}, {"", "ip", "string", "ip"}, {"", "cidr", "string", "cidr"},
		{"", "isIP", "string", "bool"}, {"", "isCIDR", "string", "bool"}, {"cidr", "containsIP", "ip", "bool"},
		{"cidr", "containsCIDR", "cidr", "bool"}, {"ip", "family", "", "int"}, {"ip", "isLoopback", "", "bool"},
		{"ip", "isGlobalUnicast", "", "bool"}, {"ip", "isLinkLocalMulticast", "", "bool"}, {"ip", "isLinkLocalUnicast", "", "bool"},
		{"ip", "isUnspecified", "", "bool"}, {"", "ip.isCanonical", "string", "bool"}, {"cidr", "ip", "", "ip"}, {"cidr", "isMask", "", "bool"},
		{"cidr", "masked", "", "cidr"}, {"cidr", "prefixLength", "", "int"},

		// Hierarchies.
		{"", "hierarchy", "string", "hierarchy"}, {"", "hierarchy", "string, string", "hierarchy"}, {"", "hierarchy", "list", "hierarchy"},
		{"hierarchy", "ancestorOf", "hierarchy", "bool"}, {"hierarchy", "descendentOf", "hierarchy", "bool"},
		{"hierarchy", "commonAncestors", "hierarchy", "hierarchy"}, {"hierarchy", "immediateChildOf", "hierarchy", "bool"},
		{"hierarchy", "immediateParentOf", "hierarchy", "bool"}, {"hierarchy", "overlaps", "hierarchy", "bool"},
		{"hierarchy", "siblingOf", "hierarchy", "bool"}, {"hierarchy", "size", "", "int"},

		// SPIFFE.
		{"", "spiffeID", "string", "spiffeID"}, {"", "spiffeTrustDomain", "string", "spiffeTrustDomain"},
		{"spiffeID", "isMemberOf", "spiffeTrustDomain", "bool"}, {"spiffeID", "path", "", "string"},
		{"spiffeID", "trustDomain", "", "spiffeTrustDomain"}, {"spiffeTrustDomain", "name", "", "string"},
		{"", "spiffeMatchAny", "", "spiffeMatcher"}, {"", "spiffeMatchExact", "string", "spiffeMatcher"},
		{"", "spiffeMatchOneOf", "list", "spiffeMatcher"}, {"", "spiffeMatchTrustDomain", "string", "spiffeMatcher"},
		{"spiffeMatcher", "matchesID", "string", "bool"},

		// Paths.
		{"", "basePath", "string", "string"}, {"", "dirPath", "string", "string"}, {"", "extPath", "string", "string"},
		{"", "joinPath", "list", "string"}, {"", "pathHasPrefix", "string, string", "bool"}, {"string", "pathHasPrefix", "string", "bool"},
		{"", "pathMatch", "string, string", "bool"}, {"string", "pathMatch", "string", "bool"},
		{"", "pathMatchAnyOf", "string, list", "bool"}, {"string", "pathMatchAnyOf", "list", "bool"},
		{"", "relPath", "string, string", "string"}, {"", "volumeName", "string", "string"},

		// Optionals.
		{"", "optional.of", "any", "optional"}, {"", "optional.none", "", "optional"}, {"", "optional.ofNonZeroValue", "any", "optional"},
		{"optional", "hasValue", "", "bool"}, {"optional", "orValue", "any", "dyn"}, {"optional", "value", "", "dyn"},
		{"optional", "or", "optional", "optional"}, {"", "optional.unwrap", "list", "list"}, {"list", "unwrapOpt", "", "list"},
		{"", "id", "any", "dyn"},
	}
}
