package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// configMaps gives the data of the ConfigMaps of a file, by name.
func configMaps(t *testing.T, file string) map[string]map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]map[string]string{}
	for d := yaml.NewDecoder(f); ; {
		var object struct {
			Kind     string
			Metadata struct{ Name string }
			Data     map[string]string
		}
		if err := d.Decode(&object); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if object.Kind == "ConfigMap" {
			out[object.Metadata.Name] = object.Data
		}
	}
}

// Edict takes what the ConfigMaps of the manifests hold: the configuration loads,
// the policies and route maps compile, and the proxy's side can be worked out.
func TestConfigMapsOfTheManifests(t *testing.T) {
	sample := configMaps(t, "../../envoy/kubernetes/config.yaml")
	dir := tempDir(t)
	for _, kind := range []string{"policies", "routes"} {
		if len(sample["edict-"+kind]) == 0 {
			t.Fatalf("there are no %s", kind)
		}
		for name, content := range sample["edict-"+kind] {
			write(t, filepath.Join(dir, kind), name, content)
		}
	}
	folders := []string{"--set", "policies.dir=" + filepath.Join(dir, "policies"), "--set", "routes.dir=" + filepath.Join(dir, "routes")}
	for file, listens := range map[string]string{
		"kubernetes/config.yaml":    "extAuthz: 0.0.0.0:9001",
		"istio/central/config.yaml": "extAuthz: 0.0.0.0:9001",
		"istio/sidecar/config.yaml": "extAuthz: unix:/run/edict/authz.sock",
	} {
		t.Run(file, func(t *testing.T) {
			text := configMaps(t, "../../envoy/"+file)["edict-config"]["edict.yaml"]
			if !strings.Contains(text, listens) || !strings.Contains(text, "admin: 0.0.0.0:9002") {
				t.Fatalf("it listens elsewhere:\n%s", text)
			}
			write(t, dir, "edict.yaml", text)
			for _, target := range []string{"envoy", "istio", "gateway"} {
				if target == "gateway" && strings.Contains(listens, "unix:") {
					continue
				}
				args := append([]string{"envoy-config", "--config", filepath.Join(dir, "edict.yaml"), "--for", target}, folders...)
				if status, _, stderr := command(nil, args...); status != exitOK {
					t.Errorf("%s: status %d\n%s", target, status, stderr)
				}
			}
		})
	}
}
