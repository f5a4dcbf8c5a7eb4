package config

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"time"

	"edict/engine/yamldoc"
)

// mostRequested bounds the limits of requests, as those of Cerbos are.
const mostRequested = 500

func requestLimit(set func(*Config, int)) func(*Config, yamldoc.Node) {
	return func(c *Config, n yamldoc.Node) {
		i, ok := n.Int()
		if ok && (i < 1 || i > mostRequested) {
			n.Report(CodeBadValue, fmt.Sprintf("the limit is a number from 1 to %d", mostRequested), "")
			return
		}
		set(c, i)
	}
}

func setAPIInFlight(c *Config, n yamldoc.Node) {
	i, ok := n.Int()
	if ok && i < 0 {
		n.Report(CodeBadValue, "api.inFlight is a number of calls and can't be negative", "")
		return
	}
	c.API.InFlight = i
}

// mostAPIMessage bounds what one call may make Edict hold in memory.
const mostAPIMessage = 64 << 20

func setAPIMessageBytes(c *Config, n yamldoc.Node) {
	i, ok := n.Int()
	if ok && (i < 1024 || i > mostAPIMessage) {
		n.Report(CodeBadValue, fmt.Sprintf("api.messageBytes is a number from 1024 to %d", mostAPIMessage), "")
		return
	}
	c.API.Message = i
}

func setAPITime(c *Config, n yamldoc.Node) {
	d, ok := n.Duration()
	if ok && d < time.Millisecond {
		n.Report(CodeBadValue, "api.time is at least 1ms", "")
		return
	}
	c.API.Time = d
}

func setAPIURL(c *Config, n yamldoc.Node) {
	text, ok := n.Text()
	u, err := url.Parse(text.Value)
	if ok && text.Value != "" &&
		(err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host+u.Path != text.Value || strings.HasSuffix(u.Path, "/")) {
		n.Report(CodeBadValue, fmt.Sprintf("%q is not where an API is", text.Value), "write scheme and host, and a path if there is one, without a slash at the end, like https://pdp.example.org")
		return
	}
	c.APIURL = text.Value
}

func setAdminUsername(c *Config, n yamldoc.Node) {
	text, _ := n.Text()
	c.AdminAPICredentials.Username = text.Value
}

func setAdminPasswordHash(c *Config, n yamldoc.Node) {
	text, ok := n.Text()
	hash, err := base64.StdEncoding.DecodeString(text.Value)
	if ok && err != nil {
		n.Report(CodeBadValue, "api.admin.passwordHash is not base64", "it is the hash in base64: htpasswd -niBC 10 admin | cut -d: -f2 | base64 -w0")
		return
	}
	c.AdminAPICredentials.PasswordHash = nil
	if len(hash) > 0 {
		c.AdminAPICredentials.PasswordHash = hash
	}
}

func setCORSOrigins(c *Config, n yamldoc.Node) {
	texts, _ := n.Texts()
	c.CORS.Origins = nil
	for _, t := range texts {
		u, err := url.Parse(t.Value)
		if t.Value != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != t.Value || t.Value != strings.ToLower(t.Value)) {
			n.Document().Report(t.Pos, CodeBadValue, fmt.Sprintf("%q is not an origin", t.Value), "write scheme and host as browsers do, like https://app.example.org, or * for all")
		}
		c.CORS.Origins = append(c.CORS.Origins, t.Value)
	}
}

func setCORSHeaders(c *Config, n yamldoc.Node) {
	texts, _ := n.Texts()
	c.CORS.Headers = []string{} // which is none, and not the default
	for _, t := range texts {
		if t.Value == "*" || isHeader(n, strings.ToLower(t.Value)) {
			c.CORS.Headers = append(c.CORS.Headers, strings.ToLower(t.Value))
		}
	}
}
