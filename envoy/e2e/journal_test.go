package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// An entry is one line of the service's journal: either member is set.
type entry struct {
	Request   *received  `json:"request"`
	Operation *operation `json:"operation"`
}

// received is a request as the service received it.
type received struct {
	Method  string      `json:"method"`
	Path    string      `json:"path"` // as sent, not decoded
	Query   string      `json:"query"`
	Headers [][2]string `json:"headers"`
}

// An operation is what the service did, and on what by its own reading of the
// request.
type operation struct {
	Name      string `json:"name"`
	Principal string `json:"principal"`
	Region    string `json:"region"`
	Owner     string `json:"owner"`
	Number    int    `json:"number"`
	Cents     int    `json:"cents"`

	// Of a view or a row of a list, as the row has them.
	Status  string `json:"status"`
	Created string `json:"created"` // RFC 3339; "": nobody knows
}

func (o operation) String() string {
	s := o.Principal + " " + o.Name
	if o.Region != "" {
		s += " " + o.Region + "/" + o.Owner
	}
	if o.Number != 0 {
		s += fmt.Sprintf("/%d", o.Number)
	}
	if o.Cents != 0 {
		s += fmt.Sprintf(" %d cents", o.Cents)
	}
	return s
}

// values gives all values of a header, by its name in lower case.
func (q *received) values(name string) (out []string) {
	for _, h := range q.Headers {
		if h[0] == name {
			out = append(out, h[1])
		}
	}
	return out
}

// A mark is a place in the journal.
type mark int64

// mark gives the end of the journal as it is now.
func (r *rig) mark(t *testing.T) mark {
	t.Helper()
	info, err := os.Stat(r.journalFile)
	if err != nil {
		t.Fatal(err)
	}
	return mark(info.Size())
}

// since gives what the journal has after a mark.
func (r *rig) since(t *testing.T, m mark) (out []entry) {
	t.Helper()
	for line := range strings.Lines(readFile(t, r.journalFile)[m:]) {
		if !strings.HasSuffix(line, "\n") {
			break // still being written
		}
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil || (e.Request == nil) == (e.Operation == nil) {
			t.Fatalf("the journal has a line that is none: %v: %s", err, line)
		}
		out = append(out, e)
	}
	return out
}

// requests gives the requests that reached the service after a mark.
func (r *rig) requests(t *testing.T, m mark) (out []*received) {
	t.Helper()
	for _, e := range r.since(t, m) {
		if e.Request != nil {
			out = append(out, e.Request)
		}
	}
	return out
}

// operations gives the operations that ran after a mark.
func (r *rig) operations(t *testing.T, m mark) (out []operation) {
	t.Helper()
	for _, e := range r.since(t, m) {
		if e.Operation != nil {
			out = append(out, *e.Operation)
		}
	}
	return out
}

// ---- What may happen -------------------------------------------------------

// A caller is who sent a request, as only the test knows for sure.
type caller struct {
	who  string // a name of people; "": nobody
	from string // office or outside
	at   time.Time
}

func (c caller) has(role string) bool {
	roles, _ := people[c.who]["roles"].([]string)
	return slices.Contains(roles, role)
}

func (c caller) inRegion(region string) bool {
	regions, _ := people[c.who]["regions"].([]string)
	return slices.Contains(regions, region)
}

// may tells whether the demo's policies, as people read them, let the caller
// bring about an operation. It is written out anew and shares nothing with
// what it judges.
func (c caller) may(o operation) bool {
	if c.who == "" || o.Principal != c.who {
		return false // without a name nothing may be done but asking for health
	}
	fromOffice := c.from == office
	owns := c.has("employee") && o.Owner == c.who
	manages := c.has("manager") && c.inRegion(o.Region)
	switch o.Name {
	case "whoami":
		return true
	case "total", "read":
		return owns || manages || c.has("auditor") && fromOffice
	case "view", "list":
		created, err := time.Parse(time.RFC3339, o.Created)
		matters := o.Status == "approved" || o.Cents >= 1000_00 ||
			o.Status == "submitted" && err == nil && c.at.Sub(created) > 90*24*time.Hour
		return owns || manages && o.Status != "draft" || c.has("auditor") && fromOffice && matters
	}
	if c.has("auditor") {
		return false
	}
	switch o.Name {
	case "create":
		return owns && c.inRegion(o.Region) && 0 < o.Cents && o.Cents <= 5000_00
	case "approve":
		limit, _ := people[c.who]["approvalLimit"].(int)
		return manages && o.Owner != c.who && 0 < o.Cents && o.Cents <= limit*100 && (fromOffice || o.Cents <= 100_00)
	case "delete":
		hour := c.at.UTC().Hour()
		return owns && fromOffice && 6 <= hour && hour < 20
	}
	return false
}

// judge gives what must not have happened: operations that none of the callers
// may bring about, and requests that carry any identity but a caller's own.
func judge(entries []entry, callers ...caller) (wrong []string) {
	for _, e := range entries {
		if o := e.Operation; o != nil {
			if !slices.ContainsFunc(callers, func(c caller) bool { return c.may(*o) }) {
				wrong = append(wrong, "the service ran: "+o.String())
			}
			continue
		}
		if !slices.ContainsFunc(callers, func(c caller) bool { return c.sent(e.Request) }) {
			wrong = append(wrong, fmt.Sprintf("the service got an identity that is not the caller's: %s %s %q",
				e.Request.Method, e.Request.Path, e.Request.Headers))
		}
	}
	return wrong
}

// sent tells whether a request carries the caller's identity, once and in one
// spelling, and nothing else that a reader could take for an identity.
func (c caller) sent(q *received) bool {
	principal, roles := "anonymous", "anonymous"
	if c.who != "" {
		list, _ := people[c.who]["roles"].([]string)
		principal, roles = c.who, strings.Join(list, ",")
	}
	var ids, rolesSeen, filters int
	for _, h := range q.Headers {
		// As CGI, WSGI and their kin fold names.
		switch strings.ReplaceAll(strings.ToLower(h[0]), "_", "-") {
		case "x-edict-principal":
			if ids++; h[0] != "x-edict-principal" || h[1] != principal {
				return false
			}
		case "x-edict-roles":
			if rolesSeen++; h[0] != "x-edict-roles" || h[1] != roles {
				return false
			}
		case "x-edict-filter":
			if filters++; h[0] != "x-edict-filter" || !strings.HasPrefix(h[1], signedFilter) || filters > 1 {
				return false
			}
		case "authorization":
			return false // a verified token goes no further, another not at all
		}
	}
	return ids == 1 && rolesSeen == 1
}

// signedFilter begins every token that Edict signs. No case of the attacks does.
var signedFilter = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","kid":`))

func TestJudge(t *testing.T) {
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	night := time.Date(2026, 3, 2, 23, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		what string
		c    caller
		o    operation
		want bool
	}{
		{"an owner reads", caller{"alice", office, noon}, operation{Name: "read", Principal: "alice", Region: "emea", Owner: "alice", Number: 1}, true},
		{"another's name was used", caller{"alice", office, noon}, operation{Name: "read", Principal: "bob", Region: "emea", Owner: "alice", Number: 1}, false},
		{"a stranger reads", caller{"alice", office, noon}, operation{Name: "read", Principal: "alice", Region: "apac", Owner: "dave", Number: 7}, false},
		{"nobody asks who they are", caller{"", office, noon}, operation{Name: "whoami", Principal: "anonymous"}, false},
		{"a whole region", caller{"alice", office, noon}, operation{Name: "total", Principal: "alice", Region: "emea"}, false},
		{"a manager's region", caller{"bob", office, noon}, operation{Name: "total", Principal: "bob", Region: "emea"}, true},
		{"an auditor at the office", caller{"carol", office, noon}, operation{Name: "total", Principal: "carol", Region: "emea"}, true},
		{"an auditor elsewhere", caller{"carol", outside, noon}, operation{Name: "total", Principal: "carol", Region: "emea"}, false},
		{"a draft of one's own", caller{"alice", office, noon}, operation{Name: "view", Principal: "alice", Region: "emea", Owner: "alice", Status: "draft"}, true},
		{"a draft of another", caller{"bob", office, noon}, operation{Name: "view", Principal: "bob", Region: "emea", Owner: "alice", Status: "draft"}, false},
		{"a row of their region", caller{"bob", office, noon}, operation{Name: "view", Principal: "bob", Region: "emea", Owner: "alice", Status: "submitted"}, true},
		{"a row of no region", caller{"bob", office, noon}, operation{Name: "view", Principal: "bob", Owner: "alice", Status: "submitted"}, false},
		{"a large one", caller{"carol", office, noon}, operation{Name: "view", Principal: "carol", Region: "emea", Owner: "alice", Cents: 1000_00, Status: "submitted"}, true},
		{"a small one of yesterday", caller{"carol", office, noon}, operation{Name: "view", Principal: "carol", Region: "emea", Owner: "alice", Cents: 1, Status: "submitted", Created: "2026-03-01T12:00:00Z"}, false},
		{"a small one of last year", caller{"carol", office, noon}, operation{Name: "view", Principal: "carol", Region: "emea", Owner: "alice", Cents: 1, Status: "submitted", Created: "2025-11-01T12:00:00Z"}, true},
		{"a large one from elsewhere", caller{"carol", outside, noon}, operation{Name: "view", Principal: "carol", Region: "emea", Owner: "alice", Cents: 1000_00, Status: "submitted"}, false},
		{"within the limit", caller{"bob", office, noon}, operation{Name: "approve", Principal: "bob", Region: "emea", Owner: "alice", Cents: 1000_00}, true},
		{"beyond the limit", caller{"bob", office, noon}, operation{Name: "approve", Principal: "bob", Region: "emea", Owner: "alice", Cents: 1000_01}, false},
		{"their own", caller{"bob", office, noon}, operation{Name: "approve", Principal: "bob", Region: "emea", Owner: "bob", Cents: 1}, false},
		{"at noon", caller{"alice", office, noon}, operation{Name: "delete", Principal: "alice", Region: "emea", Owner: "alice", Number: 1}, true},
		{"at night", caller{"alice", office, night}, operation{Name: "delete", Principal: "alice", Region: "emea", Owner: "alice", Number: 1}, false},
	} {
		if got := tt.c.may(tt.o); got != tt.want {
			t.Errorf("%s: may is %t, want %t", tt.what, got, tt.want)
		}
	}
	good := [][2]string{{"x-edict-principal", "alice"}, {"x-edict-roles", "employee"}}
	for what, headers := range map[string][][2]string{
		"":                           good,
		"twice":                      append(slices.Clone(good), [2]string{"x-edict-principal", "alice"}),
		"another's":                  {{"x-edict-principal", "bob"}, {"x-edict-roles", "employee"}},
		"other roles":                {{"x-edict-principal", "alice"}, {"x-edict-roles", "employee,manager"}},
		"none":                       nil,
		"a twin":                     append(slices.Clone(good), [2]string{"x_edict_principal", "bob"}),
		"half a twin":                append(slices.Clone(good), [2]string{"x-edict_principal", "bob"}),
		"a token":                    append(slices.Clone(good), [2]string{"authorization", "Bearer x"}),
		"without role":               good[:1],
		"a filter of the client's":   append(slices.Clone(good), [2]string{"x-edict-filter", "a.b.c"}),
		"a filter in other spelling": append(slices.Clone(good), [2]string{"x_edict_filter", signedFilter}),
		"two filters":                append(slices.Clone(good), [2]string{"x-edict-filter", signedFilter}, [2]string{"x-edict-filter", signedFilter}),
	} {
		wrong := judge([]entry{{Request: &received{Headers: headers}}}, caller{"alice", office, noon})
		if (len(wrong) == 0) != (what == "") {
			t.Errorf("headers %q: the judge says %q", what, wrong)
		}
	}
}
