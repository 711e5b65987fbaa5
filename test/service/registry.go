package service

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hamba/avro/v2"
)

// Registry is a small schema registry: what of the Confluent Schema Registry's API clients need, in memory. It checks schemas of Avro and
// Protobuf for backward compatibility, as that does by default, and takes others as they are.
type Registry struct {
	URL string

	mu       sync.Mutex
	schemas  []registered     // by id - 1
	subjects map[string][]int // ids, by version - 1
	down     bool             // answers 503
	login    func(*http.Request) bool
	asked    int
}

type registered struct {
	Schema     string      `json:"schema"`
	Type       string      `json:"schemaType,omitempty"`
	References []reference `json:"references,omitempty"`
}

// reference is to a schema that another imports.
type reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

// NewRegistry starts one, until the test ends.
func NewRegistry(tb testing.TB) *Registry {
	tb.Helper()
	r := &Registry{subjects: map[string][]int{}}
	s := httptest.NewServer(r)
	tb.Cleanup(s.Close)
	r.URL = s.URL
	return r
}

// Fail makes all requests fail as if the registry were overloaded; false ends that.
func (r *Registry) Fail(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// Login makes it refuse strangers.
func (r *Registry) Login(who func(*http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.login = who
}

// Asked is how many requests there were.
func (r *Registry) Asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	switch {
	case r.down:
		refuse(w, 503, 50301, "busy")
		return
	case r.login != nil && !r.login(req):
		refuse(w, 401, 40101, "who are you?")
		return
	}
	var path []string
	for _, p := range strings.Split(strings.Trim(req.URL.EscapedPath(), "/"), "/") {
		plain, err := url.PathUnescape(p)
		if err != nil {
			refuse(w, 400, 400, err.Error())
			return
		}
		path = append(path, plain)
	}
	var body registered
	if req.Method == http.MethodPost {
		text, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
		if err == nil {
			err = json.Unmarshal(text, &body)
		}
		if err != nil {
			refuse(w, 422, 42201, err.Error())
			return
		}
	}
	switch {
	case len(path) == 3 && path[0] == "schemas" && path[1] == "ids":
		id, err := strconv.Atoi(path[2])
		if err != nil || id < 1 || id > len(r.schemas) {
			refuse(w, 404, 40403, "Schema not found")
			return
		}
		answer(w, r.schemas[id-1])
	case len(path) == 2 && path[0] == "subjects" && req.Method == http.MethodPost:
		r.lookup(w, path[1], body)
	case len(path) == 3 && path[0] == "subjects" && path[2] == "versions" && req.Method == http.MethodPost:
		r.register(w, path[1], body)
	case len(path) == 4 && path[0] == "subjects" && path[2] == "versions" && req.Method == http.MethodGet:
		r.version(w, path[1], path[3])
	case len(path) == 5 && path[0] == "compatibility":
		if len(r.subjects[path[2]]) == 0 {
			refuse(w, 404, 40401, "Subject not found")
			return
		}
		why := r.incompatible(path[2], body)
		answer(w, map[string]any{"is_compatible": len(why) == 0, "messages": why})
	default:
		refuse(w, 404, 404, "HTTP 404 Not Found")
	}
}

func answer(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func refuse(w http.ResponseWriter, status, code int, text string) {
	w.WriteHeader(status)
	answer(w, map[string]any{"error_code": code, "message": text})
}

func (r *Registry) find(subject string, s registered) (id, version int) {
	for v, id := range r.subjects[subject] {
		if is := r.schemas[id-1]; is.Schema == s.Schema && is.Type == s.Type && slices.Equal(is.References, s.References) {
			return id, v + 1
		}
	}
	return 0, 0
}

func (r *Registry) lookup(w http.ResponseWriter, subject string, s registered) {
	id, version := r.find(subject, s)
	if id == 0 {
		refuse(w, 404, 40403, "Schema not found")
		return
	}
	answer(w, map[string]any{"subject": subject, "id": id, "version": version, "schema": s.Schema, "schemaType": s.Type, "references": s.References})
}

func (r *Registry) register(w http.ResponseWriter, subject string, s registered) {
	if id, _ := r.find(subject, s); id != 0 {
		answer(w, map[string]any{"id": id})
		return
	}
	if why := r.incompatible(subject, s); len(why) > 0 {
		refuse(w, 409, 409, "Schema being registered is incompatible with an earlier schema: "+strings.Join(why, "; "))
		return
	}
	r.schemas = append(r.schemas, s)
	r.subjects[subject] = append(r.subjects[subject], len(r.schemas))
	answer(w, map[string]any{"id": len(r.schemas)})
}

func (r *Registry) version(w http.ResponseWriter, subject, version string) {
	ids := r.subjects[subject]
	v, err := strconv.Atoi(version)
	if version == "latest" || version == "-1" {
		v, err = len(ids), nil
	}
	if err != nil || v < 1 || v > len(ids) {
		refuse(w, 404, 40402, "Version not found")
		return
	}
	s := r.schemas[ids[v-1]-1]
	answer(w, map[string]any{"subject": subject, "id": ids[v-1], "version": v, "schema": s.Schema, "schemaType": s.Type, "references": s.References})
}

// incompatible says why who reads with the new schema can't read what was written with the last.
func (r *Registry) incompatible(subject string, s registered) []string {
	ids := r.subjects[subject]
	if s.Type == "PROTOBUF" {
		return r.incompatibleProtobuf(ids, s)
	}
	if len(ids) == 0 || s.Type != "" && s.Type != "AVRO" {
		return nil
	}
	last, err := avro.ParseBytesWithCache([]byte(r.schemas[ids[len(ids)-1]-1].Schema), "", &avro.SchemaCache{})
	if err != nil {
		return nil
	}
	next, err := avro.ParseBytesWithCache([]byte(s.Schema), "", &avro.SchemaCache{})
	if err != nil {
		return []string{fmt.Sprint(err)}
	}
	if err := avro.NewSchemaCompatibility().Compatible(next, last); err != nil {
		return []string{err.Error()}
	}
	return nil
}
