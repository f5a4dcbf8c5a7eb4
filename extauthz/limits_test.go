package extauthz

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"edict/extauthz/wire"
)

func decoded(t testing.TB, b []byte) *authv3.CheckResponse {
	t.Helper()
	out := new(authv3.CheckResponse)
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// A check that is too large is denied, over gRPC too, where grpc-go would make
// an error of it.
func TestLargeChecksAreDenied(t *testing.T) {
	s := newServer(t, jwtOnly)
	s.Limits.Message = 8 << 10
	var refused []Outcome
	s.Refused = func(o Outcome, _ string) { refused = append(refused, o) }
	client := dial(t, s)
	for size, want := range map[int]string{100: "allow", 100_000: "too_large", 3 << 20: "too_large"} {
		r := get("/preview").with("x-large: " + strings.Repeat("a", size))
		out, err := client.Check(t.Context(), r.message(t))
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if got, status := reason(out); got != want || want == "too_large" && status != 413 {
			t.Errorf("%d bytes: got %s, %d", size, got, status)
		}
		if got, _ := reason(check(t, s, r)); got != want {
			t.Errorf("%d bytes, without gRPC: got %s", size, got)
		}
	}
	if len(refused) != 4 || refused[0] != TooLarge {
		t.Errorf("told of %v", refused)
	}
	if out, err := dial(t, &Server{Limits: Limits{Message: 10}}).Check(t.Context(), get("/preview").message(t)); err != nil || out.GetStatus().GetCode() == 0 {
		t.Errorf("without a revision: got %v, %v", out, err)
	}
}

// Checks beyond the limit are denied while others are under way, and no longer.
func TestChecksBeyondTheLimitAreDenied(t *testing.T) {
	o := jwtOnly
	entered, leave := make(chan struct{}), make(chan struct{})
	o.Observe = func(r *Record) {
		if r.Outcome != Overloaded && r.RequestID == "slow" {
			entered <- struct{}{}
			<-leave
		}
	}
	s := new(Server)
	s.Limits.InFlight = 2
	told := 0
	s.Refused = func(o Outcome, _ string) {
		if o == Overloaded {
			told++
		}
	}
	s.Use(compile(t, o, albumPolicy, albumRoutes))
	var under sync.WaitGroup
	for range 2 {
		under.Go(func() {
			if got, _ := reason(check(t, s, get("/preview").with("x-request-id: slow"))); got != "allow" {
				t.Errorf("under way: got %s", got)
			}
		})
		<-entered
	}
	for range 3 {
		if got, status := reason(check(t, s, get("/preview"))); got != "overloaded" || status != 503 {
			t.Errorf("one too many: got %s, %d", got, status)
		}
	}
	close(leave)
	under.Wait()
	for range 3 {
		if got, _ := reason(check(t, s, get("/preview"))); got != "allow" {
			t.Errorf("afterwards: got %s", got)
		}
	}
	if told != 3 || s.inFlight.Load() != 0 {
		t.Errorf("told of %d; %d are under way", told, s.inFlight.Load())
	}
	// A panic ends a check, too.
	s.Use(compile(t, Options{Observe: func(*Record) { panic("broken") }}, albumPolicy, albumRoutes))
	for range 5 {
		_ = check(t, s, get("/preview"))
	}
	if s.inFlight.Load() != 0 {
		t.Errorf("%d are under way after panics", s.inFlight.Load())
	}
}

func TestDue(t *testing.T) {
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		t.Cleanup(cancel)
		return ctx
	}
	for _, tt := range []struct {
		name         string
		ctx          context.Context
		limit        time.Duration
		least, most_ time.Duration // from now
	}{
		{"headroom", within(time.Hour), 0, time.Hour - 10*time.Millisecond - time.Minute, time.Hour - 10*time.Millisecond},
		{"less of it where there is little time", within(time.Millisecond), 0, -time.Hour, 800 * time.Microsecond},
		{"no later than the limit", within(time.Hour), time.Minute, 0, time.Minute},
		{"the deadline before the limit", within(time.Minute), time.Hour, 0, time.Minute - 10*time.Millisecond},
		{"the limit alone", context.Background(), time.Minute, 0, time.Minute},
	} {
		before := time.Now()
		at := due(tt.ctx, tt.limit)
		if at.Before(before.Add(tt.least)) || at.After(time.Now().Add(tt.most_)) {
			t.Errorf("%s: got %v from now", tt.name, at.Sub(before))
		}
	}
	if at := due(context.Background(), 0); !at.IsZero() {
		t.Errorf("neither: got %v", at)
	}
}

// A check that took too long is denied, although nobody has given up yet.
func TestLateAllowsAreDenied(t *testing.T) {
	s := newServer(t, jwtOnly)
	s.Limits.Time = time.Nanosecond
	if got, _ := reason(check(t, s, get("/preview"))); got != "timeout" {
		t.Errorf("got %s", got)
	}
	s.Limits.Time = time.Hour
	if got, _ := reason(check(t, s, get("/preview"))); got != "allow" {
		t.Errorf("got %s", got)
	}
}

// Every answer that is prepared denies, by the word of what guards them and by
// that of the generated types.
func TestPreparedAnswersDeny(t *testing.T) {
	for f, answers := range compile(t, jwtOnly, albumPolicy, albumRoutes).answers {
		for o, r := range answers {
			for _, b := range [][]byte{r.Bytes(), r.Append(nil, []wire.HeaderValue{{Name: "a", Value: "b"}}, nil)} {
				if !wire.Denies(b) || decoded(t, b).GetStatus().GetCode() == 0 {
					t.Errorf("%v in form %d: %x allows", Outcome(o), f, b)
				}
			}
		}
	}
	allow, ok := wire.AppendAllowed(nil, &wire.Allow{})
	for _, b := range [][]byte{allow, nil, {}, {10, 0}, {10, 2, 8, 0}, {10, 0, 18, 0}, {18, 2, 8, 7}} {
		if !ok || wire.Denies(b) {
			t.Errorf("%x is taken for a denial", b)
		}
	}
}
