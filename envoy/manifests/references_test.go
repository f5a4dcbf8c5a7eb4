package manifests

import (
	"bufio"
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	gateway "github.com/envoyproxy/gateway/api/v1alpha1"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	istiosecurity "istio.io/client-go/pkg/apis/security/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	network "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayapi "sigs.k8s.io/gateway-api/apis/v1"
)

func bufioReader(content []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(content)) }

// all gives the objects of a type, by namespace and name.
func all[T any](objects []object) map[string]T {
	out := map[string]T{}
	for _, o := range objects {
		if typed, ok := o.typed.(T); ok {
			out[o.name()] = typed
		}
	}
	return out
}

// A workload is what a Deployment and a DaemonSet have in common.
type workload struct {
	namespace string
	labels    map[string]string // of its pods
	selector  *meta.LabelSelector
	pod       core.PodSpec
}

func workloads(objects []object) map[string]workload {
	out := map[string]workload{}
	for name, d := range all[*apps.Deployment](objects) {
		out[name] = workload{d.Namespace, d.Spec.Template.Labels, d.Spec.Selector, d.Spec.Template.Spec}
	}
	for name, d := range all[*apps.DaemonSet](objects) {
		out[name] = workload{d.Namespace, d.Spec.Template.Labels, d.Spec.Selector, d.Spec.Template.Spec}
	}
	return out
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

// Labels, ports and volumes fit together.
func TestKubernetesReferences(t *testing.T) {
	objects := load(t, "../kubernetes/*.yaml", "../kubernetes/node/*.yaml")
	pods, accounts, configs := workloads(objects), all[*core.ServiceAccount](objects), all[*core.ConfigMap](objects)
	if len(pods) != 2 {
		t.Fatalf("%d workloads", len(pods))
	}
	for name, w := range pods {
		if !selects(w.selector.MatchLabels, w.labels) {
			t.Errorf("%s does not select its own pods", name)
		}
		if accounts[w.namespace+"/"+w.pod.ServiceAccountName] == nil {
			t.Errorf("%s: there is no service account %s", name, w.pod.ServiceAccountName)
		}
		volumes(t, name, w, configs)
		hardened(t, name, w.pod, w.pod.Containers[0])
		for other, o := range pods {
			if other != name && selects(w.selector.MatchLabels, o.labels) {
				t.Errorf("%s selects the pods of %s", name, other)
			}
		}
	}
	for name, s := range all[*core.Service](objects) {
		found := 0
		for _, w := range pods {
			if selects(s.Spec.Selector, w.labels) {
				found++
				for _, p := range s.Spec.Ports {
					if port := containerPort(w.pod, p.TargetPort.String()); port != p.Port || p.Port != 9001 {
						t.Errorf("%s: the port %d leads to %s, which is %d", name, p.Port, p.TargetPort.String(), port)
					}
				}
			}
		}
		if found != 1 {
			t.Errorf("%s selects the pods of %d workloads", name, found)
		}
	}
	central := pods["edict/edict"]
	budget, scaler := all[*policy.PodDisruptionBudget](objects)["edict/edict"], all[*autoscaling.HorizontalPodAutoscaler](objects)["edict/edict"]
	if budget == nil || !selects(budget.Spec.Selector.MatchLabels, central.labels) {
		t.Error("the budget is for other pods")
	}
	if scaler == nil || scaler.Spec.ScaleTargetRef.Kind != "Deployment" || scaler.Spec.ScaleTargetRef.Name != "edict" || *scaler.Spec.MinReplicas < 2 {
		t.Errorf("the scaler scales %+v", scaler)
	}
	if d := all[*apps.Deployment](objects)["edict/edict"]; d.Spec.Replicas != nil {
		t.Error("the deployment says how many there are, against the scaler")
	}
	for name, p := range all[*network.NetworkPolicy](objects) {
		for _, w := range pods {
			if !selects(p.Spec.PodSelector.MatchLabels, w.labels) {
				t.Errorf("%s is for other pods", name)
			}
		}
		if port := p.Spec.Ingress[0].Ports[0].Port.IntValue(); port != 9001 {
			t.Errorf("%s opens the port %d", name, port)
		}
	}
}

// volumes holds mounts against volumes, volumes against ConfigMaps, and the
// configuration's paths against mounts.
func volumes(t *testing.T, name string, w workload, configs map[string]*core.ConfigMap) {
	t.Helper()
	have := map[string]bool{}
	for _, v := range w.pod.Volumes {
		have[v.Name] = true
		if v.ConfigMap != nil && configs[w.namespace+"/"+v.ConfigMap.Name] == nil && !sharedConfig(v.ConfigMap.Name) {
			t.Errorf("%s: there is no ConfigMap %s", name, v.ConfigMap.Name)
		}
	}
	var paths []string
	for _, c := range slices.Concat(w.pod.InitContainers, w.pod.Containers) {
		if c.Name != "edict" {
			continue
		}
		for _, m := range c.VolumeMounts {
			paths = append(paths, m.MountPath)
			if !have[m.Name] {
				t.Errorf("%s: there is no volume %s", name, m.Name)
			}
		}
		if file := c.Args[len(c.Args)-1]; c.Args[0] != "serve" || file != "/etc/edict/config/edict.yaml" || !slices.Contains(paths, "/etc/edict/config") {
			t.Errorf("%s runs %q", name, c.Args)
		}
	}
	config := configs[w.namespace+"/edict-config"].Data["edict.yaml"]
	for _, folder := range []string{"/etc/edict/policies", "/etc/edict/routes"} {
		if !strings.Contains(config, "dir: "+folder) || !slices.Contains(paths, folder) {
			t.Errorf("%s: %s is not both named and mounted", name, folder)
		}
	}
	if strings.Contains(config, "/etc/edict/tls/") && !slices.Contains(paths, "/etc/edict/tls") {
		t.Errorf("%s: the certificates are not mounted", name)
	}
}

// sharedConfig tells whether a ConfigMap is one that the manifests of the
// sidecar leave to whoever has policies.
func sharedConfig(name string) bool { return name == "edict-policies" || name == "edict-routes" }

// hardened holds a pod against what the manifests promise.
func hardened(t *testing.T, name string, pod core.PodSpec, c core.Container) {
	t.Helper()
	s := c.SecurityContext
	switch {
	case pod.SecurityContext == nil || pod.SecurityContext.RunAsNonRoot == nil || !*pod.SecurityContext.RunAsNonRoot:
		t.Errorf("%s can run as root", name)
	case pod.SecurityContext.SeccompProfile == nil || pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken:
		t.Errorf("%s has no seccomp profile, or a token of the API", name)
	case s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}):
		t.Errorf("%s/%s is not as closed as it could be", name, c.Name)
	case c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero():
		t.Errorf("%s/%s has no resources", name, c.Name)
	}
	if c.Name != "edict" {
		return
	}
	for what, probe := range map[string]*core.Probe{"/readyz": c.ReadinessProbe, "/healthz": c.LivenessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != what || containerPort(pod, probe.HTTPGet.Port.String()) != 9002 {
			t.Errorf("%s: the probe of %s is %+v", name, what, probe)
		}
	}
}

func containerPort(pod core.PodSpec, name string) int32 {
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, p := range c.Ports {
			if p.Name == name {
				return p.ContainerPort
			}
		}
	}
	return 0
}

// The provider of the mesh is a service that there is, on its port, and what the
// policies name.
func TestIstioReferences(t *testing.T) {
	for folder, host := range map[string]string{"central": "edict.edict.svc.cluster.local", "sidecar": "edict.internal"} {
		objects := load(t, "../istio/"+folder+"/*.yaml")
		var providers []any
		for _, o := range objects {
			if config, ok := o.value["meshConfig"].(map[string]any); ok {
				providers, _ = config["extensionProviders"].([]any)
			}
		}
		if len(providers) != 1 {
			t.Fatalf("%s has %d providers", folder, len(providers))
		}
		provider := providers[0].(map[string]any)
		service := provider["envoyExtAuthzGrpc"].(map[string]any)
		if service["service"] != host || service["port"] != 9001.0 {
			t.Errorf("%s: the provider asks %v", folder, service)
		}
		custom := 0
		for name, p := range all[*istiosecurity.AuthorizationPolicy](objects) {
			if p.Spec.GetProvider() != nil {
				custom++
				if p.Spec.GetProvider().GetName() != provider["name"] {
					t.Errorf("%s: %s names the provider %q", folder, name, p.Spec.GetProvider().GetName())
				}
			}
		}
		if custom != 1 {
			t.Errorf("%s: %d policies ask Edict", folder, custom)
		}
		switch folder {
		case "central":
			kubernetes := load(t, "../kubernetes/*.yaml")
			if s := all[*core.Service](kubernetes)["edict/edict"]; s == nil || s.Spec.Ports[0].Port != 9001 || s.Spec.ClusterIP == core.ClusterIPNone || s.Spec.Ports[0].Name != "grpc" {
				t.Errorf("the provider asks %+v", s)
			}
			guard := all[*istiosecurity.AuthorizationPolicy](objects)["edict/edict"]
			if guard == nil || !selects(guard.Spec.GetSelector().GetMatchLabels(), workloads(kubernetes)["edict/edict"].labels) {
				t.Error("the guard of Edict is for other pods")
			}
		case "sidecar":
			sidecar(t, objects, host)
		}
	}
}

func sidecar(t *testing.T, objects []object, host string) {
	t.Helper()
	entries := slices.Collect(maps.Values(all[*istionetworking.ServiceEntry](objects)))
	if len(entries) != 1 || !slices.Contains(entries[0].Spec.Hosts, host) || entries[0].Spec.Ports[0].Number != 9001 {
		t.Fatalf("the entries are %v", entries)
	}
	socket := strings.TrimPrefix(entries[0].Spec.Endpoints[0].Address, "unix://")
	config := all[*core.ConfigMap](objects)
	if !strings.Contains(config["shop/edict-config"].Data["edict.yaml"], "extAuthz: unix:"+socket+"\n") {
		t.Errorf("Edict does not listen on %s", socket)
	}
	w := workloads(objects)["shop/orders"]
	volumes(t, "shop/orders", w, config)
	edict := w.pod.InitContainers[0]
	hardened(t, "shop/orders", w.pod, edict)
	hardened(t, "shop/orders", w.pod, w.pod.Containers[0])
	if edict.RestartPolicy == nil || *edict.RestartPolicy != core.ContainerRestartPolicyAlways {
		t.Error("Edict is no native sidecar")
	}
	folder := socket[:strings.LastIndexByte(socket, '/')]
	if !slices.ContainsFunc(edict.VolumeMounts, func(m core.VolumeMount) bool { return m.MountPath == folder && m.Name == "edict-socket" }) {
		t.Errorf("Edict has no volume at %s", folder)
	}
	d := all[*apps.Deployment](objects)["shop/orders"]
	if mount := d.Spec.Template.Annotations["sidecar.istio.io/userVolumeMount"]; !strings.Contains(mount, folder) || !strings.Contains(mount, "edict-socket") {
		t.Errorf("the proxy has no volume at %s: %s", folder, mount)
	}
	for name, p := range all[*istiosecurity.AuthorizationPolicy](objects) {
		if !selects(p.Spec.GetSelector().GetMatchLabels(), w.labels) {
			t.Errorf("%s is for other pods", name)
		}
	}
}

// What the policies of the gateway target is there, and may be named.
func TestGatewayReferences(t *testing.T) {
	objects := load(t, "../gateway/*.yaml")
	gateways, proxies := all[*gatewayapi.Gateway](objects), all[*gateway.EnvoyProxy](objects)
	edge := gateways["gateways/edge"]
	if edge == nil || proxies["gateways/"+edge.Spec.Infrastructure.ParametersRef.Name] == nil {
		t.Fatal("the gateway has no EnvoyProxy")
	}
	targets := func(name string, refs []gatewayapi.LocalPolicyTargetReferenceWithSectionName) {
		if len(refs) != 1 || refs[0].Kind != "Gateway" || gateways["gateways/"+string(refs[0].Name)] == nil {
			t.Errorf("%s targets %+v", name, refs)
		}
	}
	p := all[*gateway.SecurityPolicy](objects)["gateways/edict"]
	targets("SecurityPolicy", p.Spec.TargetRefs)
	for name, c := range all[*gateway.ClientTrafficPolicy](objects) {
		targets(name, c.Spec.TargetRefs)
	}
	backend := p.Spec.ExtAuth.GRPC.BackendRefs[0]
	kubernetes := load(t, "../kubernetes/*.yaml")
	s := all[*core.Service](kubernetes)[string(*backend.Namespace)+"/"+string(backend.Name)]
	if s == nil || s.Spec.Ports[0].Port != int32(*backend.Port) {
		t.Errorf("the policy asks %+v", backend.BackendObjectReference)
	}
	granted := false
	for _, o := range objects {
		if o.kind() == "ReferenceGrant" {
			granted = o.name() == string(*backend.Namespace)+"/edict" && bytes.Contains(o.json, []byte(`"namespace":"gateways"`)) && bytes.Contains(o.json, []byte(`"name":"`+string(backend.Name)+`"`))
		}
	}
	if !granted {
		t.Error("nothing grants the reference")
	}
	tls := all[*gatewayapi.BackendTLSPolicy](objects)["edict/edict"]
	if string(tls.Spec.TargetRefs[0].Name) != string(backend.Name) || string(tls.Spec.Validation.Hostname) != s.Name+"."+s.Namespace+".svc.cluster.local" {
		t.Errorf("TLS is for %+v", tls.Spec)
	}
	if route := all[*gatewayapi.HTTPRoute](objects)["shop/orders"]; route.Spec.ParentRefs[0].Name != "edge" || *route.Spec.ParentRefs[0].Namespace != "gateways" {
		t.Errorf("the route is of %+v", route.Spec.ParentRefs)
	}
}
