package resource_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"penstock.dev/penstock/internal/resource"
)

const overlayBase = `apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: orders }
spec:
  mode: topic   # kept
  key: body.id
  retention: { time: 7d }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: in }
spec:
  from: { file: { path: "in/*.json" } }
  steps:
    - map: { z: 1, a: "${body.x}", m: "1e3" }
  to: { channel: orders }
---
apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: shop }
spec: { params: { env: { type: string, default: dev } }, control: { address: "127.0.0.1:9090", token: { secret: operator } } }
`

const overlayConnection = `apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: prod }
spec:
  kafka: { brokers: ["a:9092"] }
`

// onto writes an overlay of orders as a patch.
const overlayPatch = `apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: orders }
spec:
  retention: null
  broker:
    kafka: { connection: prod, topic: orders }
`

// TestOverlays loads what is laid over the base in a kustomization and in a folder, and shows the resources that come of it with the places of
// their parts.
func TestOverlays(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		paths []string
		want  string // of the Channel: its JSON, and the place of each leaf that is asked for
		at    map[string]string
	}{
		{
			name: "kustomization",
			files: map[string]string{"base/kustomization.yaml": "resources: [flows.yaml]\n", "overlays/prod/kustomization.yaml": "resources: [../../base, connection.yaml]\npatches:\n  - path: orders.yaml\n",
				"overlays/prod/orders.yaml": overlayPatch, "overlays/prod/connection.yaml": overlayConnection},
			want: `{"mode":"topic","key":"body.id","broker":{"kafka":{"connection":"prod","topic":"orders"}}}`,
			at:   map[string]string{"/key": "base/flows.yaml:6:8", "/broker/kafka/topic": "overlays/prod/orders.yaml:7:39", "": "base/flows.yaml:5:3"},
		},
		{
			name:  "a folder",
			files: map[string]string{"overlays/prod/orders.yaml": overlayPatch, "overlays/prod/connection.yaml": overlayConnection, "overlays/test/orders.yaml": overlayPatch},
			paths: []string{"."},
			want:  `{"mode":"topic","key":"body.id","broker":{"kafka":{"connection":"prod","topic":"orders"}}}`,
			at:    map[string]string{"/key": "base/flows.yaml:6:8", "/broker/kafka/topic": "overlays/prod/orders.yaml:7:39"},
		},
		{
			name: "patches in the kustomization",
			files: map[string]string{"base/kustomization.yaml": "resources: [flows.yaml]\n", "overlays/prod/connection.yaml": overlayConnection,
				"overlays/prod/kustomization.yaml": `resources: [../../base, connection.yaml]
patches:
  - target: { kind: Channel, name: ord.* }
    patch: |-
      - op: replace
        path: /spec/key
        value: body.other
  - patch: |
      apiVersion: penstock.dev/v1alpha1
      kind: Channel
      metadata: { name: orders }
      spec: { broker: { kafka: { connection: prod } } }
`},
			want: `{"mode":"topic","key":"body.other","retention":{"time":"7d"},"broker":{"kafka":{"connection":"prod"}}}`,
			at: map[string]string{"/key": "overlays/prod/kustomization.yaml:7:16", "/mode": "base/flows.yaml:5:9", "/retention/time": "base/flows.yaml:7:22",
				"/broker/kafka/connection": "overlays/prod/kustomization.yaml:12:46"},
		},
		{
			name: "overlays over overlays",
			files: map[string]string{"base/kustomization.yaml": "resources: [flows.yaml]\n", "overlays/prod/kustomization.yaml": "resources: [../eu]\npatches: [{ path: orders.yaml }]\n",
				"overlays/eu/kustomization.yaml": "resources: [../../base]\npatches: [{ path: orders.yaml }]\n", "overlays/prod/orders.yaml": overlayPatch,
				"overlays/eu/orders.yaml": "apiVersion: penstock.dev/v1alpha1\nkind: Channel\nmetadata: { name: orders }\nspec: { retention: { size: 1Gi }, mode: queue, key: body.eu }\n"},
			want: `{"mode":"queue","key":"body.eu","broker":{"kafka":{"connection":"prod","topic":"orders"}}}`,
			at:   map[string]string{"/key": "overlays/eu/orders.yaml:4:53", "/broker/kafka/topic": "overlays/prod/orders.yaml:7:39"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, found := resource.Load(resource.Options{FS: overlayFS(tt.files), Paths: tt.paths, Overlay: "overlays/prod"})
			if found.Len() > 0 {
				t.Fatal(found.Sorted())
			}
			if len(set.Secrets) != 1 || set.Secrets[0].Name != "operator" {
				t.Errorf("the secrets are %v", set.Secrets)
			}
			ch, _ := set.Find(resource.KindChannel, "orders")
			spec := ch.Doc.Get("spec")
			if got := string(spec.JSON()); got != tt.want {
				t.Errorf("the channel is\n%s, want\n%s", got, tt.want)
			}
			for at, want := range tt.at {
				n, ok := spec.Lookup(at)
				if got := n.Pos.String(); !ok || got != want {
					t.Errorf("%s stands at %s, want %s", at, got, want)
				}
			}
			f, _ := set.Find(resource.KindFlow, "in")
			if got, want := string(f.Doc.Get("spec").JSON()), `{"from":{"file":{"path":"in/*.json"}},"steps":[{"map":{"z":1,"a":"${body.x}","m":"1e3"}}],"to":{"channel":"orders"}}`; got != want {
				t.Errorf("the flow is\n%s, want\n%s", got, want)
			}
			if f.Pos.String() != "base/flows.yaml:9:1" {
				t.Errorf("the flow stands at %s", f.Pos)
			}
		})
	}
}

// TestAnOverlayIsNamedFromAnywhere: what it is laid over is read, and the overlay itself is not read twice, whatever folder the program works in, and however the two are named.
func TestAnOverlayIsNamedFromAnywhere(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{"flows.yaml": overlayBase, "prod/orders.yaml": overlayPatch, "prod/connection.yaml": overlayConnection} {
		file := filepath.Join(root, "base", filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	base := filepath.Join(root, "base")
	over := filepath.Join(base, "prod")
	for _, c := range []struct{ in, base, overlay string }{
		{root, "base", "base/prod"}, {root, "./base", "./base/prod/"}, {base, ".", "prod"}, {over, "..", "."}, {over, "../../base", "."}, {over, base, "."}, {root, base, "base/prod"}, {root, "base", over}, {over, "..", "../prod"},
		{over, "../flows.yaml", "."}, {over, filepath.Join(base, "flows.yaml"), "."}, {t.TempDir(), base, over},
	} {
		t.Run(c.base+" -k "+c.overlay, func(t *testing.T) {
			t.Chdir(c.in)
			set, found := resource.Load(resource.Options{Paths: []string{c.base}, Overlay: c.overlay})
			if found.Len() > 0 {
				t.Fatal(found.Sorted())
			}
			if n := len(set.Resources); n != 4 {
				t.Errorf("%d resources of 4", n)
			}
			if ch, ok := set.Find(resource.KindChannel, "orders"); !ok || ch.Doc.Get("spec").Get("broker") == nil {
				t.Error("nothing is laid over the channel")
			}
		})
	}
}

func overlayFS(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{"base/flows.yaml": {Data: []byte(overlayBase)}}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestBadOverlays(t *testing.T) {
	base := map[string]string{"base/kustomization.yaml": "resources: [flows.yaml]\n"}
	for _, tt := range []struct {
		name  string
		files map[string]string
		paths []string
		want  string
	}{
		{name: "nothing there", want: "overlays/prod: error: can't be read: file does not exist (look at the path) [unreadable]"},
		{name: "an empty folder", files: map[string]string{"overlays/prod/readme.md": ""}, paths: []string{"."},
			want: "overlays/prod: error: the overlay holds nothing (put resources into it, or a kustomization.yaml) [overlay]"},
		{name: "paths beside a kustomization", paths: []string{"."}, files: map[string]string{"overlays/prod/kustomization.yaml": "resources: [../../base]\n"},
			want: "overlays/prod/kustomization.yaml:1:1: error: a kustomization says by itself what it is laid over: . can't be named beside it (leave . out, or list it under `resources`) [overlay]"},
		{name: "a resource that is not there", files: map[string]string{"overlays/prod/kustomization.yaml": "resources:\n  - ../../base\n  - conection.yaml\n"},
			want: "overlays/prod/kustomization.yaml:3:5: error: resources: there is no such file or folder (look at the path: it is relative to overlays/prod/kustomization.yaml) [overlay]"},
		{name: "from elsewhere", files: map[string]string{"overlays/prod/kustomization.yaml": "resources:\n  - https://github.com/a/b?ref=main\n"},
			want: "overlays/prod/kustomization.yaml:2:5: error: resources: it stands elsewhere, and a configuration is read from files only (fetch it first, and name the folder) [overlay]"},
		{name: "a base that is no kustomization", files: map[string]string{"overlays/prod/kustomization.yaml": "resources: [../eu]\n", "overlays/eu/a.yaml": ""},
			want: "overlays/prod/kustomization.yaml:1:13: error: the folder overlays/eu holds no kustomization (add a kustomization.yaml to it with `resources: [ … ]`) [overlay]"},
		{name: "of itself", files: map[string]string{"overlays/prod/kustomization.yaml": "resources: [../eu]\n", "overlays/eu/kustomization.yaml": "resources: [../prod]\n"},
			want: "overlays/eu/kustomization.yaml:1:13: error: the kustomization is made of itself: overlays/prod → overlays/eu → overlays/prod [overlay]"},
		{name: "a base around the overlay", files: map[string]string{"kustomization.yaml": "resources: [base]\n", "overlays/prod/kustomization.yaml": "resources: [../..]\n"},
			want: "overlays/prod/kustomization.yaml:1:13: error: the folder . holds overlays/prod, which can't be laid over it: that is a rule of kustomize (move what is laid over into a folder of its own beside `overlays`: base; or leave kustomization.yaml out, and name both: penstock run . -k overlays/prod) [overlay]"},
		{name: "a patch that is not there", files: map[string]string{"overlays/prod/kustomization.yaml": "resources: [../../base]\npatches:\n  - path: order.yaml\n"},
			want: "overlays/prod/kustomization.yaml:3:11: error: there is no such patch (look at the path: it is relative to overlays/prod/kustomization.yaml) [overlay]"},
		{name: "a patch of nothing", files: map[string]string{"overlays/prod/kustomization.yaml": "resources: [../../base]\npatches:\n  - path: orders.yaml\n", "overlays/prod/orders.yaml": strings.Replace(overlayPatch, "name: orders", "name: order", 1)},
			want: "overlays/prod/orders.yaml:1:1: error: the kustomization can't be built: there is no Channel order that could be patched (did you mean `orders`?) [overlay]"},
		{name: "a field that there is not", files: map[string]string{"overlays/prod/kustomization.yaml": "resources: [../../base]\npatchs: []\n"},
			want: "overlays/prod/kustomization.yaml:2:1: error: the kustomization can't be built: a kustomization has no field `patchs` [overlay]"},
		{name: "a patch of a flow", files: map[string]string{"overlays/prod/kustomization.yaml": "resources: [../../base]\npatches:\n  - path: flow.yaml\n", "overlays/prod/flow.yaml": "apiVersion: penstock.dev/v1alpha1\nkind: Flow\nmetadata: { name: in }\nspec:\n  steps: [ { filter: \"true\" } ]\n"},
			want: "overlays/prod/flow.yaml:5:22: error: an overlay changes where and how things run (Channel, Connection, Policy, Integration), and this one changes the Flow in (make a parameter of what differs: `params` of the Integration, whose values an overlay may set) [overlay]"},
		{name: "a flow in a folder", paths: []string{"."}, files: map[string]string{"overlays/prod/flow.yaml": "apiVersion: penstock.dev/v1alpha1\nkind: Flow\nmetadata: { name: in }\nspec:\n  order: none\n"},
			want: "overlays/prod/flow.yaml:5:10: error: an overlay changes where and how things run (Channel, Connection, Policy, Integration), and this one changes the Flow in (make a parameter of what differs: `params` of the Integration, whose values an overlay may set) [overlay]"},
		{name: "what a patch says is wrong", files: map[string]string{"overlays/prod/kustomization.yaml": "resources: [../../base]\npatches: [ { path: orders.yaml } ]\n", "overlays/prod/orders.yaml": strings.Replace(overlayPatch, "retention: null", "retension: 3", 1)},
			want: "overlays/prod/orders.yaml:5:3: error: unknown field `retension` in `spec` (did you mean `retention`?) [unknown-field]"},
		{name: "what YAML's versions read differently", files: map[string]string{"overlays/prod/kustomization.yaml": "resources: [../../base]\npatches: [ { path: orders.yaml } ]\n", "overlays/prod/orders.yaml": "apiVersion: penstock.dev/v1alpha1\nkind: Channel\nmetadata: { name: orders }\nspec: { key: yes }\n"},
			want: "overlays/prod/orders.yaml:4:14: error: `yes` is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{}
			for _, m := range []map[string]string{base, tt.files} {
				for k, v := range m {
					files[k] = v
				}
			}
			_, found := resource.Load(resource.Options{FS: overlayFS(files), Paths: tt.paths, Overlay: "overlays/prod"})
			var lines []string
			for _, d := range found.Sorted() {
				lines = append(lines, fmt.Sprint(d))
			}
			if got := strings.Join(lines, "\n"); !strings.HasPrefix(got, tt.want) {
				t.Errorf("found\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}
