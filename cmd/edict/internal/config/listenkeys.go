package config

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"

	"edict/cmd/edict/internal/listener"
	"edict/engine/diag"
	"edict/engine/yamldoc"
	"edict/extauthz"
)

// The TLS of each listener; nil is plain text.
type tlsOptions struct {
	ExtAuthz, ExtAuthzHTTP, APIGRPC, APIHTTP, Admin *listener.TLS
}

// optional is address, for a listener that may be off.
func optional(set func(*Config, string)) func(*Config, yamldoc.Node) {
	given := address(set)
	return func(c *Config, n yamldoc.Node) {
		if t, ok := n.Text(); ok && t.Value == "" {
			set(c, "")
			return
		}
		given(c, n)
	}
}

// tlsOf sets the TLS of a listener. An empty mapping turns it off.
func tlsOf(set func(*Config, *listener.TLS)) func(*Config, yamldoc.Node) {
	return func(c *Config, n yamldoc.Node) {
		o, ok := n.Object("cert", "key", "clientCA", "clients", "minVersion")
		if !ok {
			return
		}
		if entries, ok := n.Entries(); ok && len(entries) == 0 {
			set(c, nil)
			return
		}
		t := &listener.TLS{MinVersion: tls.VersionTLS12}
		o.Required("cert")
		o.Required("key")
		field(o, "cert", &t.Cert)
		field(o, "key", &t.Key)
		field(o, "clientCA", &t.ClientCA)
		if n, ok := o.Field("clients"); ok {
			texts, _ := n.Texts()
			for _, text := range texts {
				client, err := listener.ParseClient(text.Value)
				if err != nil {
					n.Document().Report(text.Pos, CodeBadValue, err.Error(), "write spiffe://domain/path, spiffe://domain or envoy.example.org")
				}
				t.Clients = append(t.Clients, client)
			}
			if t.ClientCA == "" {
				n.Report(CodeBadValue, "clients are known by their certificates, and clientCA says whose are believed", "set clientCA too")
			}
		}
		if n, ok := o.Field("minVersion"); ok {
			// Written without quotes it is a number to YAML.
			v, _ := n.Value()
			switch {
			case v.Str() == "1.2", v.Double() == 1.2:
			case v.Str() == "1.3", v.Double() == 1.3:
				t.MinVersion = tls.VersionTLS13
			default:
				n.Report(CodeBadValue, "the TLS versions to choose from are 1.2 and 1.3", `write "1.2" or "1.3"; Envoy asks with 1.2 unless its tls_maximum_protocol_version says otherwise`)
			}
		}
		set(c, t)
	}
}

func setSocketMode(c *Config, n yamldoc.Node) {
	const hint = `write three octal digits in quotes, like "0660"`
	t, ok := n.NonEmptyText()
	if !ok {
		return
	}
	mode, err := strconv.ParseUint(t.Value, 8, 32)
	if err != nil || mode > 0o777 || len(strings.TrimPrefix(t.Value, "0")) != 3 {
		n.Report(CodeBadValue, fmt.Sprintf("%q is not the mode of a socket", t.Value), hint)
		return
	}
	c.Socket.Mode = fs.FileMode(mode)
}

func setSocketUIDs(c *Config, n yamldoc.Node) {
	list, _ := n.List()
	c.Socket.UIDs = nil
	for _, n := range list {
		i, ok := n.Int()
		if ok && (i < 0 || i > math.MaxUint32-1) {
			n.Report(CodeBadValue, fmt.Sprintf("%d is not the number of a user", i), "")
			continue
		}
		if ok {
			c.Socket.UIDs = append(c.Socket.UIDs, uint32(i))
		}
	}
}

func setPathPrefix(c *Config, n yamldoc.Node) {
	t, ok := n.Text()
	if ok && t.Value != "" && !strings.HasPrefix(t.Value, "/") {
		n.Report(CodeBadValue, fmt.Sprintf("the path prefix %q does not begin with a slash", t.Value), "write http_service.path_prefix as it stands in Envoy's configuration")
		return
	}
	c.ExtAuthzHTTPOptions.PathPrefix = t.Value
}

func setInFlight(c *Config, n yamldoc.Node) {
	i, ok := n.Int()
	if ok && i < 0 {
		n.Report(CodeBadValue, "limits.inFlight is a number of checks and can't be negative", "")
		return
	}
	c.Limits.InFlight = i
}

// mostMessage leaves room for checks that are too large to be received, so that
// they can be denied.
const mostMessage = extauthz.MaxMessage / 2

func setMessageBytes(c *Config, n yamldoc.Node) {
	i, ok := n.Int()
	if ok && (i < 1024 || i > mostMessage) {
		n.Report(CodeBadValue, fmt.Sprintf("limits.messageBytes is a number from 1024 to %d", mostMessage), "")
		return
	}
	c.Limits.Message = i
}

func setCheckTime(c *Config, n yamldoc.Node) {
	d, ok := n.Duration()
	if ok && d < time.Millisecond {
		n.Report(CodeBadValue, "limits.time is at least 1ms", "")
		return
	}
	c.Limits.Time = d
}

func setCertificatePoll(c *Config, n yamldoc.Node) {
	d, ok := n.Duration()
	if ok && d < time.Millisecond {
		n.Report(CodeBadValue, "reload.certificates is at least 1ms", "certificates that nobody looks at expire")
		return
	}
	c.ReloadCertificates = d
}

// listenWarning gives what deserves a word about a listener that Envoy asks, or
// about the sockets.
func listenWarning(path string, c *Config) (code diag.Code, message, hint string) {
	const forge = "whoever reaches it can say what Envoy alone should, claims and peers included"
	at, secured := c.ExtAuthz, c.TLS.ExtAuthz
	switch path {
	case "listen.socket.mode":
		if c.Socket.Mode&0o002 != 0 && len(c.Socket.UIDs) == 0 {
			return CodeInsecure, "every process on the machine may use the sockets", "let a group in by listen.socket.group, or some users by listen.socket.uids"
		}
		return "", "", ""
	case "listen.extAuthzHTTP":
		at, secured = c.ExtAuthzHTTP, c.TLS.ExtAuthzHTTP
	case "listen.extAuthz":
	default:
		return "", "", ""
	}
	name := strings.TrimPrefix(path, "listen.")
	switch {
	case at == "" || !listener.Exposed(at):
	case secured == nil:
		return CodeInsecure, fmt.Sprintf("%s takes checks from other machines in plain text; %s", at, forge),
			fmt.Sprintf("set listen.tls.%s with a clientCA, or keep the network to Envoy", name)
	case secured.ClientCA == "":
		return CodeInsecure, fmt.Sprintf("%s takes checks from clients without a certificate; %s", at, forge),
			fmt.Sprintf("set listen.tls.%s.clientCA", name)
	}
	return "", "", ""
}
