package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"edict/api"
	"edict/api/admin"
	"edict/api/apidoc"
	"edict/api/authzen"
	"edict/api/cerbospb"
	"edict/extauthz/filtertoken"
	"edict/extauthz/testca"
)

// asksThing is a request of the API that the policies of newServed allow.
const asksThing = `{"principal":{"id":"alice","roles":["user"]},"resources":[{"actions":["a"],"resource":{"kind":"thing","id":"one"}}]}`

// post asks the API over HTTP.
func post(t *testing.T, client *http.Client, url, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(limited(t), "POST", url+"/api/check/resources", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// checkThing asks the API over gRPC.
func checkThing(t *testing.T, target string, options ...grpc.DialOption) (cerbospb.Effect, error) {
	t.Helper()
	if !strings.HasPrefix(target, "unix:") {
		target = "passthrough:///" + target
	}
	conn, err := grpc.NewClient(target, append(options, grpc.WithNoProxy())...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := &cerbospb.CheckResourcesRequest{
		Principal: &cerbospb.Principal{Id: "alice", Roles: []string{"user"}},
		Resources: []*cerbospb.CheckResourcesRequest_ResourceEntry{{Actions: []string{"a"}, Resource: &cerbospb.Resource{Kind: "thing", Id: "one"}}},
	}
	out := new(cerbospb.CheckResourcesResponse)
	if err := conn.Invoke(limited(t), "/"+api.ServiceName+"/CheckResources", in, out, grpc.UseCompressor(gzip.Name)); err != nil {
		return 0, err
	}
	return out.GetResults()[0].GetActions()["a"], nil
}

// The API answers by the policies in force: over gRPC and JSON, and on the port
// of JSON over gRPC, too.
func TestAPI(t *testing.T) {
	s := newServed(t)
	socket := filepath.Join(s.dir, "api.sock")
	s.start("listen.apiGRPC=unix:" + socket)
	line := s.log.await(t, logListening, 1)
	http1 := "http://" + line.text("apiHTTP")
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())

	if status, body := post(t, http.DefaultClient, http1, asksThing); status != 200 || !strings.Contains(body, `"a":"EFFECT_ALLOW"`) {
		t.Errorf("got %d %s", status, body)
	}
	for _, path := range []string{authzen.MetadataPath, apidoc.Path, filtertoken.KeysPath} {
		resp, err := http.Get(http1 + path)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: got %v, %v", path, resp, err)
		}
		content, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if path != apidoc.Path {
			continue
		}
		for _, described := range []string{filtertoken.KeysPath, filtertoken.TakePath} {
			if !bytes.Contains(content, []byte(`"`+described+`": {`)) {
				t.Errorf("%s is not described", described)
			}
		}
	}
	for _, target := range []string{"unix:" + socket, line.text("apiHTTP")} {
		if effect, err := checkThing(t, target, plain); effect != cerbospb.Effect_EFFECT_ALLOW {
			t.Errorf("%s: got %s, %v", target, effect, err)
		}
		conn, err := grpc.NewClient(strings.Replace("passthrough:///"+target, "passthrough:///unix:", "unix:", 1), plain, grpc.WithNoProxy())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		health, err := grpc_health_v1.NewHealthClient(conn).Check(limited(t), &grpc_health_v1.HealthCheckRequest{Service: api.ServiceName})
		if err != nil || health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%s: the health is %v, %v", target, health, err)
		}
		if got := servicesOf(t, conn); !strings.Contains(got, api.ServiceName) || !strings.Contains(got, authzen.ServiceName) {
			t.Errorf("%s: reflection tells of %s", target, got)
		}
	}

	s.write("policies/thing.yaml", policy("b"))
	s.log.await(t, logInForce, 2)
	if status, body := post(t, http.DefaultClient, http1, asksThing); status != 200 || !strings.Contains(body, `"a":"EFFECT_DENY"`) {
		t.Errorf("after a change of the policies: got %d %s", status, body)
	}
	s.stop()
	if status := s.ended(); status != exitOK {
		t.Errorf("the daemon ended with %d\n%s", status, s.log)
	}
}

// Why a plan can't be made is in the log, and nowhere else.
func TestPlanThatCannotBeMade(t *testing.T) {
	s := newServed(t)
	s.write("policies/thing.yaml", strings.Replace(policy("a"), "roles: [user]", `roles: [user]
      condition: {match: {expr: 'cel.bind(o, R.attr.original, o == R.id)'}}`, 1))
	s.start("api.inFlight=3")
	url := "http://" + s.log.await(t, logListening, 1).text("apiHTTP") + "/api/plan/resources"
	resp, err := http.Post(url, "application/json", strings.NewReader(`{"principal":{"id":"alice","roles":["user"]},"action":"a","resource":{"kind":"thing"}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 500 || string(b) != `{"code":13,"message":"the plan can't be made; the log of the server says why"}` {
		t.Errorf("got %d %s, %v", resp.StatusCode, b, err)
	}
	if got := s.log.await(t, "a plan can't be made safely", 1).text("error"); !strings.Contains(got, "resource.thing.vdefault: cel.bind(o, R.attr.original, o == R.id): ") {
		t.Errorf("the log says %q", got)
	}
}

// servicesOf gives the services that reflection tells of.
func servicesOf(t *testing.T, conn *grpc.ClientConn) string {
	t.Helper()
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(limited(t))
	if err == nil {
		err = stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.CloseSend()
	return out.GetListServicesResponse().String()
}

// Clients of the API are known by their certificates where that is asked for.
func TestAPIWithTLS(t *testing.T) {
	s := newServed(t)
	ca, mesh := testca.New(t, "servers"), testca.New(t, "mesh")
	mutual := s.secure(ca, mesh, "api", ", clientCA: $CA")
	s.start("listen.tls.apiGRPC="+mutual, "listen.tls.apiHTTP="+mutual)
	line := s.log.await(t, logListening, 1)
	for _, tt := range []struct {
		name         string
		certificates []tls.Certificate
		in           bool
	}{
		{"a client of the mesh", []tls.Certificate{mesh.Pair(t, testca.Spec{CommonName: "app"})}, true},
		{"a client without a certificate", nil, false},
		{"a client of another authority", []tls.Certificate{ca.Pair(t, testca.Spec{CommonName: "app"})}, false},
	} {
		config := &tls.Config{RootCAs: ca.Pool(), ServerName: "edict", Certificates: tt.certificates}
		secure := grpc.WithTransportCredentials(credentials.NewTLS(config.Clone()))
		for _, key := range []string{"apiGRPC", "apiHTTP"} {
			if effect, err := checkThing(t, line.text(key), secure); (effect == cerbospb.Effect_EFFECT_ALLOW) != tt.in {
				t.Errorf("%s: %s: got %s, %v", key, tt.name, effect, err)
			}
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
		resp, err := client.Post("https://"+line.text("apiHTTP")+"/api/check/resources", "application/json", bytes.NewReader([]byte(asksThing)))
		if (err == nil) != tt.in {
			t.Errorf("%s: got %v", tt.name, err)
		}
		if err == nil {
			resp.Body.Close()
		}
		client.CloseIdleConnections()
	}
}

// The API can be off, and then nobody answers.
func TestAPIIsOff(t *testing.T) {
	s := newServed(t)
	s.start("listen.apiGRPC=", "listen.apiHTTP=")
	line := s.log.await(t, logListening, 1)
	if line.text("apiGRPC") != "" || line.text("apiHTTP") != "" {
		t.Errorf("got %v", line)
	}
	s.answers(aliceAsks, "allow", 200)
}

// A key set that can't be read ends the start, since every token would be
// refused.
func TestKeySetThatCannotBeRead(t *testing.T) {
	s := newServed(t)
	file := filepath.Join(s.dir, "no.jwk")
	status, _, stderr := command(nil, s.args("auxData.jwt.keySets=[{id: a, local: {file: "+file+"}}]")...)
	if status != exitUsage || !strings.Contains(stderr, `edict: auxData.jwt: key set "a": `) || !strings.Contains(stderr, file) {
		t.Errorf("got %d\n%s", status, stderr)
	}
}

// The Admin API tells of what is in force, and is not there without credentials.
func TestAdminAPI(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), 10)
	if err != nil {
		t.Fatal(err)
	}
	s := newServed(t)
	s.start("api.admin.enabled=true", "api.admin.username=root", "api.admin.passwordHash="+base64.StdEncoding.EncodeToString(hash))
	url := "http://" + s.log.await(t, logListening, 1).text("apiHTTP")
	get := func(password, path string) (int, string) {
		r, err := http.NewRequestWithContext(limited(t), "GET", url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("root", password)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if code, body := get("secret", "/admin/policies"); code != 200 || body != `{"policyIds":["thing.yaml"]}` {
		t.Errorf("got %d %s", code, body)
	}
	if code, body := get("", "/_cerbos/health?service="+admin.ServiceName); code != 200 {
		t.Errorf("the health is %d %s", code, body)
	}
	if code, body := get("guess", "/admin/policies"); code != 401 {
		t.Errorf("got %d %s", code, body)
	}
	code, _, stderr := command(nil, s.args("api.admin.enabled=true", "api.admin.username=root")...)
	if code != exitUsage || !strings.Contains(stderr, "edict: api.admin: the Admin API needs a username and the hash of a password") {
		t.Errorf("without a password: got %d\n%s", code, stderr)
	}
}
