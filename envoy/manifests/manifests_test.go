package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	gateway "github.com/envoyproxy/gateway/api/v1alpha1"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3" // messages that patches hold
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"github.com/santhosh-tekuri/jsonschema/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	mesh "istio.io/api/mesh/v1alpha1"
	istionetworking "istio.io/api/networking/v1alpha3"
	istiosecurity "istio.io/api/security/v1beta1"
	istiocore "istio.io/client-go/pkg/apis/networking/v1"
	istiofilters "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istiopolicies "istio.io/client-go/pkg/apis/security/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	network "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	yamldocs "k8s.io/apimachinery/pkg/util/yaml"
	gatewayapi "sigs.k8s.io/gateway-api/apis/v1"
	gatewaybeta "sigs.k8s.io/gateway-api/apis/v1beta1"
	kubejson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// types gives a value of the type of a kind.
var types = map[string]func() any{
	"v1/Namespace":                                       func() any { return new(core.Namespace) },
	"v1/ServiceAccount":                                  func() any { return new(core.ServiceAccount) },
	"v1/ConfigMap":                                       func() any { return new(core.ConfigMap) },
	"v1/Service":                                         func() any { return new(core.Service) },
	"apps/v1/Deployment":                                 func() any { return new(apps.Deployment) },
	"apps/v1/DaemonSet":                                  func() any { return new(apps.DaemonSet) },
	"policy/v1/PodDisruptionBudget":                      func() any { return new(policy.PodDisruptionBudget) },
	"autoscaling/v2/HorizontalPodAutoscaler":             func() any { return new(autoscaling.HorizontalPodAutoscaler) },
	"networking.k8s.io/v1/NetworkPolicy":                 func() any { return new(network.NetworkPolicy) },
	"security.istio.io/v1/AuthorizationPolicy":           func() any { return new(istiopolicies.AuthorizationPolicy) },
	"security.istio.io/v1/PeerAuthentication":            func() any { return new(istiopolicies.PeerAuthentication) },
	"networking.istio.io/v1/ServiceEntry":                func() any { return new(istiocore.ServiceEntry) },
	"networking.istio.io/v1alpha3/EnvoyFilter":           func() any { return new(istiofilters.EnvoyFilter) },
	"gateway.envoyproxy.io/v1alpha1/SecurityPolicy":      func() any { return new(gateway.SecurityPolicy) },
	"gateway.envoyproxy.io/v1alpha1/EnvoyProxy":          func() any { return new(gateway.EnvoyProxy) },
	"gateway.envoyproxy.io/v1alpha1/ClientTrafficPolicy": func() any { return new(gateway.ClientTrafficPolicy) },
	"gateway.networking.k8s.io/v1/GatewayClass":          func() any { return new(gatewayapi.GatewayClass) },
	"gateway.networking.k8s.io/v1/Gateway":               func() any { return new(gatewayapi.Gateway) },
	"gateway.networking.k8s.io/v1/HTTPRoute":             func() any { return new(gatewayapi.HTTPRoute) },
	"gateway.networking.k8s.io/v1/BackendTLSPolicy":      func() any { return new(gatewayapi.BackendTLSPolicy) },
	"gateway.networking.k8s.io/v1beta1/ReferenceGrant":   func() any { return new(gatewaybeta.ReferenceGrant) },
}

// specs gives the message that is the spec of a kind of Istio. Its own types
// pass over unknown fields, so that the message is read strictly beside them.
var specs = map[string]func() proto.Message{
	"AuthorizationPolicy": func() proto.Message { return new(istiosecurity.AuthorizationPolicy) },
	"PeerAuthentication":  func() proto.Message { return new(istiosecurity.PeerAuthentication) },
	"ServiceEntry":        func() proto.Message { return new(istionetworking.ServiceEntry) },
	"EnvoyFilter":         func() proto.Message { return new(istionetworking.EnvoyFilter) },
}

// An object is a document of a file.
type object struct {
	file  string
	json  []byte
	value map[string]any
	typed any // nil for a mesh configuration
}

func (o object) kind() string { return fmt.Sprint(o.value["kind"]) }

func (o object) name() string {
	m, _ := o.value["metadata"].(map[string]any)
	namespace, _ := m["namespace"].(string)
	return namespace + "/" + fmt.Sprint(m["name"])
}

// load reads and decodes the objects of files.
func load(t *testing.T, patterns ...string) []object {
	t.Helper()
	var out []object
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, decode(t, file, content)...)
		}
	}
	return out
}

// decode takes the documents of a file apart, each strictly into its type.
func decode(t *testing.T, file string, content []byte) []object {
	t.Helper()
	var out []object
	reader := yamldocs.NewYAMLReader(bufioReader(content))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		o, err := decodeOne(document)
		if err != nil {
			t.Errorf("%s: %v\n%s", file, err, document)
			continue
		}
		if o.value != nil {
			o.file = file
			out = append(out, o)
		}
	}
}

func decodeOne(document []byte) (object, error) {
	var o object
	if err := yaml.UnmarshalStrict(document, &o.value); err != nil || o.value == nil {
		return o, err
	}
	var err error
	if o.json, err = yaml.YAMLToJSONStrict(document); err != nil {
		return o, err
	}
	if config, ok := o.value["meshConfig"]; ok && len(o.value) == 1 {
		return o, strict(config, new(mesh.MeshConfig))
	}
	make, ok := types[fmt.Sprintf("%v/%v", o.value["apiVersion"], o.value["kind"])]
	if !ok {
		return o, fmt.Errorf("no type is known for %v %v", o.value["apiVersion"], o.value["kind"])
	}
	o.typed = make()
	// As the API server reads: names of fields in the right case, and none that
	// there is not.
	unknown, err := kubejson.UnmarshalStrict(o.json, o.typed)
	if err := errors.Join(append(unknown, err)...); err != nil {
		return o, err
	}
	if spec, ok := specs[o.kind()]; ok {
		if err := strict(o.value["spec"], spec()); err != nil {
			return o, err
		}
	}
	if err := envoyMessages(o.value); err != nil {
		return o, err
	}
	return o, satisfies(o)
}

// strict reads a value into a message, which must have all its fields.
func strict(value any, into proto.Message) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(text, into)
}

// envoyMessages reads what has an @type into the message that it names.
func envoyMessages(value any) error {
	switch v := value.(type) {
	case map[string]any:
		if _, ok := v["@type"]; ok {
			return strict(v, new(anypb.Any))
		}
		for _, child := range v {
			if err := envoyMessages(child); err != nil {
				return err
			}
		}
	case []any:
		for _, child := range v {
			if err := envoyMessages(child); err != nil {
				return err
			}
		}
	}
	return nil
}

// definitions are the schemas of custom resources, by version and kind.
var definitions = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	out := map[string]*jsonschema.Schema{}
	for module, pattern := range map[string]string{
		"istio.io/api":                  "kubernetes/customresourcedefinitions.gen.yaml",
		"github.com/envoyproxy/gateway": "charts/gateway-helm/charts/crds/crds/generated/*.yaml",
		"sigs.k8s.io/gateway-api":       "config/crd/standard/*.yaml",
	} {
		dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", module, err)
		}
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), pattern))
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("%s: no definitions at %s: %v", module, pattern, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			if err := define(out, content); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return out, nil
})

// define adds the definitions of a file.
func define(out map[string]*jsonschema.Schema, content []byte) error {
	reader := yamldocs.NewYAMLReader(bufioReader(content))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var definition struct {
			Kind string
			Spec struct {
				Group    string
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct {
						OpenAPIV3Schema json.RawMessage `json:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal(document, &definition); err != nil {
			return err
		}
		if definition.Kind != "CustomResourceDefinition" {
			continue
		}
		for _, version := range definition.Spec.Versions {
			name := definition.Spec.Group + "/" + version.Name + "/" + definition.Spec.Names.Kind
			c := jsonschema.NewCompiler()
			c.Draft = jsonschema.Draft4 // whose exclusiveMinimum is a boolean, as OpenAPI's
			if err := c.AddResource(name, bytes.NewReader(version.Schema.OpenAPIV3Schema)); err != nil {
				return err
			}
			if out[name], err = c.Compile(name); err != nil {
				return err
			}
		}
	}
}

// satisfies holds an object of a custom resource against its definition.
func satisfies(o object) error {
	known, err := definitions()
	if err != nil {
		return err
	}
	version := fmt.Sprint(o.value["apiVersion"])
	schema, ok := known[version+"/"+o.kind()]
	if !ok {
		if strings.Contains(version, "istio.io") || strings.Contains(version, "gateway.") {
			return fmt.Errorf("there is no definition of %s %s", version, o.kind())
		}
		return nil
	}
	var plain any
	if err := json.Unmarshal(o.json, &plain); err != nil {
		return err
	}
	return schema.Validate(plain)
}

// Every manifest is what its API takes.
func TestManifestsAreValid(t *testing.T) {
	objects := load(t, "../kubernetes/*.yaml", "../kubernetes/node/*.yaml", "../istio/*/*.yaml", "../gateway/*.yaml")
	if len(objects) < 35 {
		t.Errorf("only %d objects were found", len(objects))
	}
}

// A field that there is not, and a value that there is not, are found: in each
// kind of type.
func TestMistakesAreFound(t *testing.T) {
	for name, tt := range map[string]struct{ file, old, new string }{
		"a field of Kubernetes":      {"../kubernetes/deployment.yaml", "serviceAccountName:", "serviceAcountName:"},
		"a deep field of Kubernetes": {"../kubernetes/deployment.yaml", "readOnlyRootFilesystem:", "readOnlyRootFileSystem:"},
		"a repeated key":             {"../kubernetes/service.yaml", "  ports:", "  selector: {}\n  ports:"},
		"a field of the mesh":        {"../istio/central/mesh.yaml", "failOpen:", "failopen:"},
		"a field of Istio":           {"../istio/central/policy.yaml", "provider:", "providers:"},
		"a value of Istio":           {"../istio/central/policy.yaml", "STRICT", "strict"},
		"a field of Envoy":           {"../istio/central/filters.yaml", "encode_raw_headers", "encode_raw_header"},
		"a value of Envoy":           {"../istio/central/filters.yaml", "REJECT_REQUEST}", "REJECT}"},
		"a field of Envoy Gateway":   {"../gateway/securitypolicy.yaml", "statusOnError:", "statusOnErrors:"},
		"a status of Envoy Gateway":  {"../gateway/securitypolicy.yaml", "statusOnError: 503", "statusOnError: 200"},
		"an action of Envoy Gateway": {"../gateway/clienttraffic.yaml", "RejectRequest}", "Reject}"},
		"a filter of Envoy Gateway":  {"../gateway/envoyproxy.yaml", "after: envoy.filters.http.jwt_authn", "after: jwt"},
		"a required field":           {"../gateway/backendtls.yaml", "    hostname: edict.edict.svc.cluster.local\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(tt.file)
			if err != nil {
				t.Fatal(err)
			}
			broken := strings.Replace(string(content), tt.old, tt.new, 1)
			if broken == string(content) {
				t.Fatalf("%s has no %q", tt.file, tt.old)
			}
			for _, document := range strings.Split(broken, "\n---\n") {
				if _, err := decodeOne([]byte(document)); err != nil {
					return
				}
			}
			t.Errorf("%s with %q passes", tt.file, tt.new)
		})
	}
}

// What `edict envoy-config` prints for a mesh and a gateway is valid, too.
func TestPrintedManifestsAreValid(t *testing.T) {
	edict := filepath.Join(t.TempDir(), "edict")
	run := func(command ...string) []byte {
		c := exec.Command(command[0], command[1:]...)
		c.Dir = "../.."
		var out, failure bytes.Buffer
		c.Stdout, c.Stderr = &out, &failure
		if err := c.Run(); err != nil {
			t.Fatalf("%q: %v\n%s", command, err, failure.Bytes())
		}
		return out.Bytes()
	}
	run("go", "build", "-o", edict, "./cmd/edict")
	for _, args := range [][]string{
		{"--for", "istio"},
		{"--for", "istio", "--set", "listen.extAuthz=unix:/run/edict/authz.sock"},
		{"--for", "istio", "--set", "accept=[encoded-slash]"},
		{"--for", "gateway"},
		{"--for", "gateway", "--set", "accept=[encoded-slash, merged-slashes]", "--set", "body.limit=4096"},
	} {
		out := run(append([]string{edict, "envoy-config", "--config", "envoy/edict.yaml", "--set", "identity.sources=[{headers: {id: x-user}}]"}, args...)...)
		if objects := decode(t, strings.Join(args, " "), out); len(objects) < 3 {
			t.Errorf("%q gives %d objects", args, len(objects))
		}
	}
}
