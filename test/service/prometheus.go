package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Prometheus is a server of a test's own, which scrapes every second.
type Prometheus struct {
	port    int
	dir     string
	process *process
}

// NewPrometheus starts a server that scrapes targets (host:port) at /metrics, with native histograms if native says so, and
// evaluates the rules in files. It ends with the test.
func NewPrometheus(tb testing.TB, native bool, targets []string, rules ...string) *Prometheus {
	tb.Helper()
	program := find(tb, "prometheus", "prometheus")
	who := account(tb, "prometheus")
	p := &Prometheus{port: freePort(tb), dir: folder(tb, "prometheus", who)}
	var own []string
	for i, r := range rules {
		text, err := os.ReadFile(r)
		name := filepath.Join(p.dir, fmt.Sprintf("rules%d.yml", i))
		if err == nil {
			err = errors.Join(os.WriteFile(name, text, 0o600), give(name, who))
		}
		if err != nil {
			tb.Fatal(err)
		}
		own = append(own, strconv.Quote(name))
	}
	for i, t := range targets {
		targets[i] = strconv.Quote(t)
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%s]\nscrape_configs: [{job_name: penstock, static_configs: [{targets: [%s]}]}]\n",
		strings.Join(own, ", "), strings.Join(targets, ", "))
	file := filepath.Join(p.dir, "prometheus.yml")
	if err := errors.Join(os.WriteFile(file, []byte(config), 0o600), give(file, who)); err != nil {
		tb.Fatal(err)
	}
	args := []string{"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(p.dir, "data"), "--web.listen-address=127.0.0.1:" + strconv.Itoa(p.port), "--log.level=warn"}
	if native {
		args = append(args, "--enable-feature=native-histograms")
	}
	p.process = start(tb, options{who: who, dir: p.dir, signal: "TERM"}, program, args...)
	p.process.ready(tb, func(ctx context.Context) error {
		_, err := p.get(ctx, "/-/ready", nil)
		return err
	})
	tb.Cleanup(func() {
		if err := errors.Join(p.process.stop(false), os.RemoveAll(p.dir)); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// get asks the server.
func (p *Prometheus) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s?%s", p.port, path, query.Encode()), http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Close = true // nothing of it outlives the test
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return body, err
}

// Sample is one series of an answer. Value is that of a number, and the count of a native histogram.
type Sample struct {
	Labels map[string]string
	Value  float64
	Native bool
}

// Query asks for the value of an expression now.
func (p *Prometheus) Query(tb testing.TB, expr string) []Sample {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := p.query(ctx, expr)
	if err != nil {
		tb.Fatalf("%s: %v", expr, err)
	}
	return out
}

func (p *Prometheus) query(ctx context.Context, expr string) ([]Sample, error) {
	body, err := p.get(ctx, "/api/v1/query", url.Values{"query": {expr}})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric    map[string]string
				Value     []any
				Histogram []any
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	var out []Sample
	for _, r := range answer.Data.Result {
		s := Sample{Labels: r.Metric}
		text := ""
		switch {
		case len(r.Value) == 2:
			text, _ = r.Value[1].(string)
		case len(r.Histogram) == 2:
			h, _ := r.Histogram[1].(map[string]any)
			text, _ = h["count"].(string)
			s.Native = true
		}
		if s.Value, err = strconv.ParseFloat(text, 64); err != nil {
			return nil, fmt.Errorf("%s", body)
		}
		out = append(out, s)
	}
	return out, nil
}

// Until asks until what is answered is right, and fails the test if it never is.
func (p *Prometheus) Until(tb testing.TB, expr string, right func([]Sample) bool) []Sample {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		out, err := p.query(ctx, expr)
		if err == nil && right(out) {
			return out
		}
		if ctx.Err() != nil || !p.process.alive() {
			tb.Fatalf("%s: %v, %v\n%s", expr, out, err, p.process.tail())
		}
		pause(ctx)
	}
}

// Promtool runs Prometheus's own tool, with what it is to read from its standard input, and gives what it says.
func Promtool(tb testing.TB, stdin io.Reader, args ...string) (string, error) {
	tb.Helper()
	program := find(tb, "prometheus", "promtool")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = stdin
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}
