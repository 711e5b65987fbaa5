package jobs_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// TestPullRefusals: what can't be read, or asks for what can't be, is refused with where it is wrong, and nothing of the request is done.
func TestPullRefusals(t *testing.T) {
	p := newPulled(t, memory.New(), labels())
	p.enqueue(1, 1)
	if code, body := p.post("/lease", `{"max":1}`); code != 200 || !strings.Contains(body, `"epoch":1,`) {
		t.Fatal(code, body)
	}
	many := `{"jobs":[` + strings.Repeat(`{"id":"x","epoch":1},`, 1024) + `{"id":"j1","epoch":1}]}`
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"/lease", `{"max":-1}`, 400, "`max` is -1, and must not be less than 0"},
		{"/lease", `{"waitMs":-5}`, 400, "`waitMs` is -5"},
		{"/lease", `{"leaseMs":-5}`, 400, "`leaseMs` is -5"},
		{"/lease", `{"max":"all"}`, 400, "`max` is of kind string, and must be of kind int"},
		{"/lease", `{"maximum":1}`, 400, `unknown field \"maximum\"`},
		{"/lease", `[]`, 400, "it is of kind array, and must be an object"},
		{"/lease", `{} {}`, 400, "something follows the value, at byte"},
		{"/lease", `{"max":1`, 400, "it ends too early"},
		{"/lease", `{"max":01}`, 400, "at byte 9"},
		{"/lease", `{"worker":"` + strings.Repeat("w", 20_000) + `"}`, 400, "`worker` is longer than 16384 bytes"},
		{"/heartbeat", `{"jobs":[{"id":"j1","epoch":1,"leaseMs":-1}]}`, 400, "jobs[0]: `leaseMs` is -1"},
		{"/heartbeat", many, 400, "`jobs` has 1025, and must have no more than 1024"},
		{"/complete", ``, 400, "`jobs` is missing"},
		{"/complete", `null`, 400, "it is of kind null, and must be an object"},
		{"/complete", `{"jobs":[null]}`, 400, "jobs[0]: `id` is missing"},
		{"/complete", `{"jobs":[{"id":"j1","epoch":1},{"epoch":1}]}`, 400, "jobs[1]: `id` is missing"},
		{"/complete", `{"jobs":[{"id":"j1"}]}`, 400, "jobs[0]: `epoch` is missing"},
		{"/complete", `{"jobs":[{"id":"j1","epoch":1},{"id":"j1","epoch":-1}]}`, 400, "jobs[1]: `epoch` is of kind number -1, and must be of kind uint64"},
		{"/complete", `{"jobs":[{"id":7,"epoch":1}]}`, 400, "jobs[0]: `id` is of kind number, and must be of kind string"},
		{"/complete", `{"jobs":[{"id":"j1","epoch":1,"error":"x"}]}`, 400, `jobs[0]: unknown field \"error\"`},
		{"/complete", `{"jobs":["j1"]}`, 400, "jobs[0]: it is of kind string, and must be an object"},
		{"/complete", `{"jobs":{"id":"j1"}}`, 400, "`jobs` is of kind object"},
		{"/complete", strings.Repeat(" ", 8<<20+1), 413, "larger than 8 MiB"},
		{"/release", `{"jobs":[{"id":"j1","epoch":1,"leaseMs":1}]}`, 400, `jobs[0]: unknown field \"leaseMs\"`},
		{"/fail", `{"jobs":[{"id":"j1","epoch":1,"code":"oops"}]}`, 400, "jobs[0]: `code` is \\\"oops\\\", and must be one of invalid, "},
		{"/fail", `{"jobs":[{"id":"j1","epoch":1,"afterMs":-1}]}`, 400, "jobs[0]: `afterMs` is -1, and must be from 0 to"},
		{"/fail", `{"jobs":[{"id":"j1","epoch":1,"afterMs":9223372036854775807}]}`, 400, "(366 days)"},
	} {
		code, body := p.post(c.path, c.body)
		if code != c.status || !strings.Contains(body, c.says) || !strings.Contains(body, "queue") {
			t.Errorf("%s %.80s: %d %s", c.path, c.body, code, body)
		}
	}
	if code, body := p.post("/complete", `{"jobs":[{"id":"j1","epoch":1}]}`); code != 200 {
		t.Errorf("what was refused has changed something: %d %s", code, body)
	}
}

// TestLongErrorsAreCut: what a worker says of a failure is stored with the job; a text without end is not.
func TestLongErrorsAreCut(t *testing.T) {
	p := newPulled(t, memory.New(), labels())
	p.enqueue(1, 1)
	p.post("/lease", `{"max":1}`)
	long, _ := json.Marshal(strings.Repeat("x", 16383) + "日本語")
	if code, body := p.post("/fail", fmt.Sprintf(`{"jobs":[{"id":"j1","epoch":1,"afterMs":0,"error":%s}]}`, long)); code != 200 {
		t.Fatal(code, body)
	}
	var got struct{ Jobs []struct{ LastError string } }
	_, body := p.post("/lease", `{"max":1}`)
	if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.Jobs) != 1 || got.Jobs[0].LastError != strings.Repeat("x", 16383)+"…" {
		t.Errorf("%v %d bytes", err, len(body))
	}
}

// TestPullIsNotForWebPages: a page of another site that is open in a browser on this machine can't take jobs.
func TestPullIsNotForWebPages(t *testing.T) {
	p := newPulled(t, memory.New(), labels())
	p.enqueue(1, 1)
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://example.com"}} {
		if code, body := p.post("/lease", `{"max":1}`, header...); code != 403 || !strings.Contains(body, `"code":"forbidden"`) {
			t.Errorf("%v: %d %s", header, code, body)
		}
	}
	if code, body := p.post("/lease", `{"max":1}`, "Sec-Fetch-Site", "same-origin"); code != 200 || !strings.Contains(body, `"id":"j1"`) {
		t.Error(code, body)
	}
}

// FuzzPullBodies: whatever workers send, they are answered with JSON that says what is wrong, if anything is; each job is in one place; and none is over, or goes
// elsewhere, unless who asked held it.
func FuzzPullBodies(f *testing.F) {
	for i, bodies := range [][]string{
		{`{"max":3,"waitMs":0,"leaseMs":5000,"worker":"w"}`, `{"max":1e3}`, `{"leaseMs":9223372036854775807}`, `{"max":-1}`, `{"worker":7}`, ``, `null`, `[`},
		{`{"jobs":[{"id":"j1","epoch":1},{"id":"j2","epoch":2,"leaseMs":9223372036854775807}]}`, `{"jobs":[{"id":"j1","epoch":0}]}`, `{"jobs":[]}`},
		{`{"jobs":[{"id":"j1","epoch":1,"result":{"a":[1,"\ud800"]}},{"id":"j1","epoch":1}]}`, `{"jobs":[{"id":"j9","epoch":9}]}`, `{"jobs":[{"id":"j1","epoch":1}],"jobs":[{"id":"j2"}]}`, `{"jobs":[null]}`},
		{`{"jobs":[{"id":"j2","epoch":2}]}`, `{"jobs":[{"id":"j2","epoch":18446744073709551616}]}`, `{"jobs":7}`},
		{`{"jobs":[{"id":"j1","epoch":1,"error":"no paper","code":"unavailable","afterMs":1000},{"id":"j2","epoch":2,"final":true}]}`, `{"jobs":[{"id":"j1","epoch":1,"afterMs":-9223372036854775808}]}`, `{"jobs":[{"id":"j1","epoch":1,"code":"oops"}]}`},
	} {
		for _, b := range bodies {
			f.Add(byte(i), []byte(b))
		}
	}
	paths := []string{"/lease", "/heartbeat", "/complete", "/release", "/fail"}
	q := labels()
	q.Keep = time.Hour
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		path := paths[int(which)%len(paths)]
		st := memory.New()
		defer func() { _ = st.Close() }()
		s, m := served(t, st, q)
		defer s.Close()
		var all [][]byte
		for i := range 4 {
			all = append(all, jobRecord(fmt.Sprint("j", i+1), `{"n":1}`))
		}
		if err := st.Submit(store.Small, func(tx store.Tx) error { return s.Enqueue(tx, "labels", time.Now().UnixNano(), all) }).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		ask := func(path string, body []byte) (status int, text []byte) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, jobs.Root+"labels"+path, strings.NewReader(string(body)))
			w := httptest.NewRecorder()
			asDescribed(t, m).ServeHTTP(w, r)
			return w.Code, w.Body.Bytes()
		}
		ask("/lease", []byte(`{"max":2}`)) // j1 under 1, j2 under 2
		before, err := s.Look(t.Context(), "labels")
		if err != nil || before.Leased != 2 || before.Ready != 2 {
			t.Fatalf("%+v %v", before, err)
		}
		status, text := ask(path, body)
		var answer struct {
			Detail, Code string
			Refused      []string
			Jobs         []struct{ ID string }
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatalf("%d is no JSON: %v: %s", status, err, text)
		}
		after, err := s.Look(t.Context(), "labels")
		if err != nil {
			t.Fatal(err)
		}
		if after.Ready+after.Leased+after.Delayed+after.Completed+after.Dead != 4 || after.Enqueued != 4 || after.Expired != 0 {
			t.Errorf("jobs are lost, or twice: %+v", after.Counts)
		}
		after.Stale, before.Stale = 0, 0
		switch status {
		case http.StatusOK:
			if path == "/lease" && (len(answer.Jobs) == 0 || after.Leased != 2+int64(len(answer.Jobs))) {
				t.Errorf("%s are given, of %+v", text, after.Counts)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			if !strings.HasPrefix(answer.Detail, "queue labels: ") && !strings.HasPrefix(answer.Detail, "queue: labels: ") || len(answer.Detail) < 25 || after.Counts != before.Counts {
				t.Errorf("%s does not say what is wrong, or %+v has become %+v", text, before.Counts, after.Counts)
			}
		case http.StatusConflict:
			if len(answer.Refused) == 0 || answer.Detail == "" || path == "/lease" {
				t.Errorf("nobody is refused: %s", text)
			}
		default:
			t.Errorf("%d %s", status, text)
		}
		if says := string(body); after.Counts != before.Counts && path != "/lease" && !strings.Contains(says, "j") && !strings.Contains(says, `\u`) {
			t.Errorf("%s names no job, and %+v has become %+v", says, before.Counts, after.Counts)
		}
	})
}
