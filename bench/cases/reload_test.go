package cases

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWriteService(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "flows")
	for _, n := range []int{40, 25} { // the second has fewer files
		if err := WriteService(folder, n, "http://127.0.0.1:1"); err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(folder, "*.yaml"))
		sum := map[string]int{}
		for _, f := range files {
			for kind, n := range parse(t, f) {
				sum[kind] += n
			}
			if text, err := os.ReadFile(f); err != nil || strings.Contains(string(text), "%!") {
				t.Errorf("%s is not filled in: %v\n%s", f, err, text)
			}
		}
		if sum["Flow"] != n || sum["Connection"] != 1 || sum["Schema"] != (n+7)/10 {
			t.Errorf("%d flows: %v", n, sum)
		}
	}
}

func TestArrivals(t *testing.T) {
	var a arrivals
	send := func(path, body string) {
		a.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	}
	send("/changing", `{"version":"v1"}`) // nobody waits
	came := a.expect("v2")
	send("/changing", `{"version":"v1"}`)
	select {
	case <-came:
		t.Fatal("it waits for another version")
	default:
	}
	send("/changing", `{"version":"v2"}`)
	send("/changing", `{"version":"v2"}`)
	<-came
	now := time.Now()
	a.pulses = []time.Time{now.Add(5 * time.Millisecond), now, now.Add(6 * time.Millisecond)}
	if got := a.gaps(); !slices.Equal(got, []float64{1, 5}) {
		t.Error(got)
	}
	if got := a.gaps(); len(got) != 0 {
		t.Error(got)
	}
}
