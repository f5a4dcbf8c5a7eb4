package extauthz

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

var update = flag.Bool("update", false, "write docs/outcomes.md anew")

// docs/outcomes.md holds the table of outcomes; go test ./extauthz -update
// writes it.
func TestOutcomesAreDocumented(t *testing.T) {
	const file = "../docs/outcomes.md"
	var b strings.Builder
	b.WriteString(`# How a check can end

Whatever becomes of a check, Envoy gets an answer: a gRPC success that allows or
denies. The label is in the dynamic metadata (` + "`envoy.filters.http.ext_authz`, key `reason`" + `),
so that Envoy's access log can show it, and in Edict's log. The client learns the
status and nothing else, unless [something else](responses.md) is asked for.

| label | when | HTTP status | gRPC status | class |
| --- | --- | --- | --- | --- |
`)
	for o := range outcomeCount {
		row := outcomes[o]
		status := fmt.Sprint(row.Status)
		if o.Passes() {
			status = "the upstream's"
		}
		class := ""
		if !o.Passes() {
			class = "`" + string(o.class()) + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %d %s | %s |\n", row.Label, row.When, status, row.Code, row.Code, class)
	}
	b.WriteString(`
What ` + "`onDeny`" + ` says of a class counts for its outcomes. An HTTP client gets problem details (RFC 9457), or HTML or plain text if its Accept header
likes that better. A gRPC client gets the gRPC status with a short message, in the trailers;
Edict names the status, since Envoy would make INTERNAL of a 400. The page is made from the table that answers are made from
(` + "`go test ./extauthz -update`" + `).
`)
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != b.String() {
		t.Errorf("%s is not what the outcomes are (%v); run go test ./extauthz -update", file, err)
	}
}

func TestOutcomesAreSound(t *testing.T) {
	labels := map[string]bool{}
	for o := range outcomeCount {
		row := outcomes[o]
		if row.Label == "" || row.When == "" || labels[row.Label] {
			t.Errorf("outcome %d: label %q, when %q", o, row.Label, row.When)
		}
		labels[row.Label] = true
		if (row.Code == codes.OK) != o.Passes() || (row.Status < 400) != o.Passes() {
			t.Errorf("%s: code %v, status %d", row.Label, row.Code, row.Status)
		}
	}
	if Outcome(200).String() != Internal.String() || Outcome(200).Status() != Internal.Status() {
		t.Error("an unknown outcome is not an internal failure")
	}
}
