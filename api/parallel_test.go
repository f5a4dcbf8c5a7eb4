package api

import (
	"strings"
	"sync"
	"testing"
)

// Calls that are answered at once do not see each other's requests.
func TestCallsAtOnce(t *testing.T) {
	s, _ := newServer(t)
	h := s.Handler(HTTPOptions{})
	var wg sync.WaitGroup
	for _, who := range []string{"ann", "bob", "cid", "dan"} {
		wg.Go(func() {
			body := `{"requestId":"` + who + `","principal":{"id":"` + who + `","roles":["user"]},"resources":[` +
				`{"actions":["edit"],"resource":{"kind":"doc","id":"` + who + `","attr":{"owner":"` + who + `","size":1,"tags":[]}}},` +
				`{"actions":["edit"],"resource":{"kind":"doc","id":"1","attr":{"owner":"eve"}}}]}`
			want := `{"requestId":"` + who + `","results":[` +
				`{"resource":{"id":"` + who + `","kind":"doc"},"actions":{"edit":"EFFECT_ALLOW"},"outputs":[{"src":"resource.doc.vdefault#edit","val":{"by":"` + who + `","size":1,"tags":[]},"action":"edit"}]},` +
				`{"resource":{"id":"1","kind":"doc"},"actions":{"edit":"EFFECT_DENY"}}],`
			for range 200 {
				if w := ask(h, "POST", "/api/check/resources", body); !strings.HasPrefix(w.Body.String(), want) {
					t.Errorf("%s: got %d %s", who, w.Code, w.Body)
					return
				}
			}
		})
	}
	wg.Wait()
}
