package filtertoken

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
)

// The paths that Handler answers.
const (
	KeysPath = "/.well-known/edict/filter-keys.json"
	TakePath = "/edict/v1/filters/take"
)

// maxTakeBody is far more than a handle takes.
const maxTakeBody = 1 << 10

// Handler answers GET KeysPath with the keys that tokens are verified with, as
// a JWK set, and POST TakePath with a filter: {"handle": hdl} gives {"flt": …},
// once. A handle that is unknown, was taken or has expired is a 404. What is
// wrong is told by problem details (RFC 9457).
func (i *Issuer) Handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc(KeysPath, i.serveKeys)
	m.HandleFunc(TakePath, i.serveTake)
	return m
}

func (i *Issuer) serveKeys(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "GET, HEAD")
		return
	}
	// A copy that somebody keeps would lack the next key.
	w.Header().Set("Cache-Control", "no-cache")
	answer(w, "application/jwk-set+json", i.KeySet(time.Now()))
}

func (i *Issuer) serveTake(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		refuse(w, http.StatusMethodNotAllowed, "POST")
		return
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, "")
		return
	}
	text, status := readTake(http.MaxBytesReader(w, r.Body, maxTakeBody))
	if status != http.StatusOK {
		refuse(w, status, "")
		return
	}
	h, ok := parseHandle(text)
	if !ok {
		refuse(w, http.StatusNotFound, "") // it is nobody's, like any other
		return
	}
	filter, ok := i.handles.take(h, time.Now())
	if !ok {
		refuse(w, http.StatusNotFound, "")
		return
	}
	b := append(make([]byte, 0, len(filter)+8), `{"flt":`...)
	answer(w, "application/json", append(append(b, filter...), '}'))
}

// readTake gives the handle of a body, or the status that refuses it.
func readTake(body io.Reader) (handle string, status int) {
	var asked struct {
		Handle string `json:"handle"`
	}
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(&asked)
	if err == nil {
		_, err = d.Token() // nothing may follow
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return "", http.StatusRequestEntityTooLarge
	case err != io.EOF, asked.Handle == "":
		return "", http.StatusBadRequest
	}
	return asked.Handle, http.StatusOK
}

func answer(w http.ResponseWriter, mediaType string, body []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body) // the backend is gone if this fails
}

// refuse answers with problem details. The methods are those that are allowed
// of a 405.
func refuse(w http.ResponseWriter, status int, allowed string) {
	if allowed != "" {
		w.Header().Set("Allow", allowed)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"title":%q,"status":%d}`+"\n", http.StatusText(status), status)
}
