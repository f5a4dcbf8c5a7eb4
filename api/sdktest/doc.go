// Package sdktest lets the Cerbos SDKs of Python and JavaScript, as they are
// published, ask Edict, and holds the answers against those of the real Cerbos.
// It holds nothing but tests.
//
// testdata/cases.yaml is a table of calls, testdata/runner.py and runner.mjs
// make them with every client of the SDKs, and testdata/answers.json is what
// came of that at Cerbos 0.55.0. The policies are those of testdata/policies
// and the demo's, and evaluation is lenient, which is Cerbos' default. The pages
// of docs about the API are run with the defaults of Edict.
//
// The tests need what `make venv sdks` installs, and run by
//
//	EDICT_E2E=1 go test -count=1 ./api/sdktest
//
// After a change of the table or the policies the answers are recorded anew by
//
//	EDICT_E2E=1 go test -count=1 ./api/sdktest -cerbos ../../.tools/cerbos/node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64 -record
//
// What always holds here:
//
//  1. An answer that the table does not know is a failure, and so is an answer
//     that the table knows and no client gave.
//  2. Edict answers as Cerbos does, save where a case says "edict", and there
//     it says where that difference is documented.
//  3. Nothing listens on a fixed port.
package sdktest
