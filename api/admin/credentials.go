package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Credentials are what a caller has to know.
type Credentials struct {
	Username string

	// PasswordHash is the bcrypt hash of the password, like $2y$10$…
	PasswordHash []byte
}

// The costs that a hash may have. Below, guessing is cheap; above, each call takes
// seconds of a processor. A step doubles the work.
const (
	leastCost = 10
	mostCost  = 14
)

// Check gives the error of credentials that nothing should be guarded by.
func (c Credentials) Check() error {
	if c.Username == "" || len(c.PasswordHash) == 0 {
		return errors.New("the Admin API needs a username and the hash of a password")
	}
	if strings.Contains(c.Username, ":") {
		return errors.New("a username has no colon")
	}
	cost, err := bcrypt.Cost(c.PasswordHash)
	if err != nil {
		return errors.New("the hash of the password is not one of bcrypt, like $2y$10$…")
	}
	if cost < leastCost || cost > mostCost {
		return fmt.Errorf("the hash of the password has the cost %d; it is from %d to %d", cost, leastCost, mostCost)
	}
	return nil
}

// most72 is the length of what bcrypt looks at, in bytes. It would take longer
// passwords that begin with the right one for it.
const most72 = 72

// verify looks at the credentials of a call, which are in its metadata over HTTP,
// too.
func (s *Server) verify(ctx context.Context) error {
	headers, _ := metadata.FromIncomingContext(ctx)
	values := headers.Get("authorization")
	if len(values) == 0 {
		return status.Error(codes.Unauthenticated, "authentication required")
	}
	scheme, encoded, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "basic") {
		return status.Error(codes.Unauthenticated, "unsupported authentication method")
	}
	incorrect := status.Error(codes.Unauthenticated, "incorrect credentials")
	given, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	username, password, found := strings.Cut(string(given), ":")
	if err != nil || !found || len(values) > 1 || len(password) > most72 {
		return incorrect
	}
	done, err := s.turns.wait(ctx, clientOf(ctx))
	if errors.Is(err, errCrowd) {
		return status.Error(codes.Unavailable, err.Error())
	}
	if err != nil {
		return status.FromContextError(err).Err()
	}
	defer done()
	wrong := bcrypt.CompareHashAndPassword(s.credentials.PasswordHash, []byte(password)) != nil
	a, b := sha256.Sum256([]byte(username)), sha256.Sum256([]byte(s.credentials.Username))
	if subtle.ConstantTimeCompare(a[:], b[:]) != 1 || wrong {
		return incorrect
	}
	return nil
}
