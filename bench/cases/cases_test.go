package cases

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"penstock.dev/penstock/bench/benchdata"
	"penstock.dev/penstock/bench/harness"
)

func TestVerifyFile(t *testing.T) {
	want := benchdata.Figures{Passing: 2, FirstOut: []byte(`{"id":"1","amount":2.5}`)}
	for _, c := range []struct {
		text    string
		ordered bool
		fault   string
	}{
		{"{\"id\":\"1\",\"amount\":2.5}\n{}\n", true, ""},
		{"{\"amount\":2.50,\"id\":\"1\"}\n{}\n", true, ""},
		{"{\"id\":\"9\",\"amount\":9}\n{}\n", false, ""},
		{"{\"id\":\"9\",\"amount\":2.5}\n{}\n", true, "line 1"},
		{"{\"id\":9,\"amount\":2.5}\n{}\n", false, "line 1"},
		{"{\"id\":\"1\"}\n{}\n", false, "line 1"},
		{"{\"id\":\"1\",\"sum\":2.5}\n{}\n", false, "line 1"},
		{"{\"id\":\"1\",\"amount\":2.5}\n", true, "holds 1 lines, not 2"},
		{"{\"id\"\n\n", true, "line 1"},
	} {
		path := filepath.Join(t.TempDir(), "out")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := verifyFile(path, want, c.ordered)
		if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%q, ordered %t: %v", c.text, c.ordered, err)
		}
	}
	if err := verifyFile(filepath.Join(t.TempDir(), "absent"), want, true); err == nil {
		t.Error("a file that is not there was verified")
	}
}

func TestDelivered(t *testing.T) {
	peer := harness.Measurement{Stdout: []byte("{\"name\":\"input_received\",\"value\":\"9\"}\nnoise\n{\"name\":\"output_sent\",\"value\":\"7\"}\n")}
	if n, err := peerDelivered(peer); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := peerDelivered(harness.Measurement{}); err == nil {
		t.Error("no counter, no error")
	}
	own := harness.Measurement{Stdout: []byte(`{"flows":[{"name":"a","sent":[{"endpoint":"a/to","count":1}],"dead":0}]}
{"flows":[{"name":"a","sent":[{"endpoint":"a/to","count":3},{"endpoint":"a/to2","count":4}],"dead":0}],"seconds":1}`)}
	if n, err := ownDelivered(own); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, text := range []string{"", "done", "{}", `{"flows":[{"name":"a","sent":[],"dead":2}]}`} {
		if _, err := ownDelivered(harness.Measurement{Stdout: []byte(text)}); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestRunWithoutPrograms(t *testing.T) {
	c := All()[0]
	if _, err := c.Run(context.Background(), Env{Temp: t.TempDir(), Messages: 1000}, 1, func(string) {}); err == nil {
		t.Error("nothing was run, and no error")
	}
}

// Every case has its flow and its configuration of the peer, and all of them are YAML.
func TestConfigurationsAreThere(t *testing.T) {
	for _, c := range All() {
		if _, err := os.Stat(filepath.Join("..", "flows", c.Flow, "flow.yaml")); err != nil {
			t.Error(err)
		}
		for _, name := range append([]string{c.Peer}, c.Variants...) {
			if name == "" { // it is compared with itself
				continue
			}
			if _, err := fs.Stat(peerConfigs, "peer/"+name); err != nil {
				t.Error(err)
			}
		}
	}
	for _, glob := range []string{"../flows/*/*.yaml", "peer/*.yaml"} {
		files, _ := filepath.Glob(glob)
		for _, f := range files {
			parse(t, f)
		}
	}
}

// parse reads all documents of a file and returns how many there are of each kind.
func parse(t *testing.T, path string) map[string]int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	kinds := map[string]int{}
	for dec := yaml.NewDecoder(f); ; {
		var doc map[string]any
		if err := dec.Decode(&doc); err != nil {
			if err.Error() != "EOF" {
				t.Errorf("%s: %v", path, err)
			}
			return kinds
		}
		kind, _ := doc["kind"].(string)
		kinds[kind]++
	}
}

func TestWriteFlows(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "check")
	if err := WriteFlows(folder, 25); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(folder, "*.yaml"))
	sum := map[string]int{}
	for _, f := range files {
		for kind, n := range parse(t, f) {
			sum[kind] += n
		}
	}
	if len(files) != 3 || sum["Flow"] != 25 || sum["Schema"] != 3 || sum["Channel"] != 3 {
		t.Errorf("%d files with %v", len(files), sum)
	}
	text, err := os.ReadFile(files[0])
	if err != nil || strings.Contains(string(text), "%!") {
		t.Errorf("the text is not filled in: %v\n%s", err, text)
	}
}
