package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"edict/engine"
	"edict/engine/internal/oracle"
	"edict/engine/value"
)

// A cerbos is a running server of one policy set.
type cerbos struct {
	command *exec.Cmd
	exited  chan struct{}
	client  *http.Client
	dir     string
	log     *bytes.Buffer
}

// errRefused says that the server does not take the policies.
var errRefused = errors.New("the server did not start")

// startCerbos writes the set to a new folder and serves it on a socket there,
// until ctx is done.
func startCerbos(ctx context.Context, program string, set *oracle.Set) (_ *cerbos, err error) {
	dir, err := os.MkdirTemp("", "edict-differential-")
	if err != nil {
		return nil, err
	}
	c := &cerbos{dir: dir, log: &bytes.Buffer{}, exited: make(chan struct{})}
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	policies := filepath.Join(dir, "policies")
	if err := os.Mkdir(policies, 0o700); err != nil {
		return nil, err
	}
	for i, p := range set.Policies {
		if err := os.WriteFile(filepath.Join(policies, fmt.Sprintf("policy_%03d.yaml", i)), []byte(oracle.YAML(p)), 0o600); err != nil {
			return nil, err
		}
	}
	for name, text := range oracle.SchemaFiles() {
		file := filepath.Join(policies, "_schemas", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return nil, err
		}
	}
	socket := filepath.Join(dir, "http")
	engineConfig := map[string]any{
		"strictEvaluation":   !set.Options.LenientEvaluation,
		"lenientScopeSearch": set.Options.LenientScopeSearch,
		"defaultScope":       set.Options.DefaultScope,
		"celErrorLogLevel":   "none",
	}
	if v := set.Options.DefaultPolicyVersion; v != "" {
		engineConfig["defaultPolicyVersion"] = v
	}
	if set.Options.Globals != nil {
		engineConfig["globals"] = value.OfMapping(set.Options.Globals).Native()
	}
	config, err := json.Marshal(map[string]any{ // which is YAML, too
		"server":    map[string]any{"httpListenAddr": "unix:" + socket, "grpcListenAddr": "unix:" + filepath.Join(dir, "grpc")},
		"storage":   map[string]any{"driver": "disk", "disk": map[string]any{"directory": policies, "watchForChanges": false}},
		"engine":    engineConfig,
		"schema":    map[string]any{"enforcement": set.Options.SchemaEnforcement.String()},
		"telemetry": map[string]any{"disabled": true},
		"auxData":   map[string]any{"jwt": map[string]any{"disableVerification": true}},
	})
	if err != nil {
		return nil, err
	}
	configFile := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(configFile, config, 0o600); err != nil {
		return nil, err
	}
	c.command = exec.CommandContext(ctx, program, "server", "--config", configFile, "--log-level=ERROR")
	c.command.Stdout, c.command.Stderr = c.log, c.log
	c.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	if err := c.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = c.command.Wait()
		close(c.exited)
	}()
	return c, c.ready()
}

func (c *cerbos) ready() error {
	timeout := time.After(30 * time.Second)
	for {
		r, err := c.client.Get("http://cerbos/_cerbos/health")
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-c.exited:
			return fmt.Errorf("%w: %s", errRefused, c.log)
		case <-timeout:
			return fmt.Errorf("the server is not ready: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (c *cerbos) stop() {
	if c.command != nil && c.command.Process != nil {
		_ = c.command.Process.Kill()
		<-c.exited
	}
	_ = os.RemoveAll(c.dir)
}

// errNoJSON says that the server could not write its answer, as it can't if an
// output is not a finite number.
var errNoJSON = errors.New("the server could not write its answer")

// check asks about requests that differ in resource and actions only.
func (c *cerbos) check(requests []*engine.Request) ([]*answer, error) {
	p := &requests[0].Principal
	body := map[string]any{
		"includeMeta": true,
		"principal":   map[string]any{"id": p.ID, "roles": p.Roles, "attr": attributes(p.Attr), "policyVersion": p.PolicyVersion, "scope": p.Scope},
	}
	var resources []any
	for _, req := range requests {
		r := &req.Resource
		resources = append(resources, map[string]any{
			"actions":  req.Actions,
			"resource": map[string]any{"kind": r.Kind, "id": r.ID, "attr": attributes(r.Attr), "policyVersion": r.PolicyVersion, "scope": r.Scope},
		})
	}
	body["resources"] = resources
	if claims := requests[0].AuxData.JWT; claims != nil {
		body["auxData"] = map[string]any{"jwt": map[string]any{"token": token(claims)}}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := c.client.Post("http://cerbos/api/check/resources", "application/json", bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	data, err = io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if r.StatusCode == http.StatusInternalServerError {
		return nil, fmt.Errorf("%w: %s", errNoJSON, data)
	}
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d: %s", r.StatusCode, data)
	}
	var got struct {
		Results []struct {
			Actions map[string]string
			Outputs []struct {
				Src, Action, Error string
				Val                any
			}
			ValidationErrors []struct{ Path, Message, Source string }
			Meta             struct {
				Actions               map[string]struct{ MatchedPolicy, MatchedScope string }
				EffectiveDerivedRoles []string
			}
		}
	}
	if err := json.Unmarshal(data, &got); err != nil {
		return nil, err
	}
	if len(got.Results) != len(requests) {
		return nil, fmt.Errorf("%d results for %d resources", len(got.Results), len(requests))
	}
	var out []*answer
	for i, req := range requests {
		result := &got.Results[i]
		a := &answer{}
		for _, action := range req.Actions {
			m := result.Meta.Actions[action]
			a.result(action, result.Actions[action], m.MatchedPolicy, m.MatchedScope)
		}
		for _, o := range result.Outputs {
			a.output(o.Src, o.Action, o.Val, o.Error != "")
		}
		for _, e := range result.ValidationErrors {
			a.invalid(e.Source, e.Path, e.Message)
		}
		a.roles(result.Meta.EffectiveDerivedRoles)
		out = append(out, a)
	}
	return out, nil
}

func attributes(m value.Mapping) any {
	if m == nil {
		return map[string]any{}
	}
	return value.OfMapping(m).Native()
}

// token gives claims as a token whose signature nobody looks at.
func token(claims value.Mapping) string {
	part := func(x any) string {
		b, err := json.Marshal(x)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return part(map[string]string{"alg": "HS256", "typ": "JWT"}) + "." + part(attributes(claims)) + "." + part("signature")
}
