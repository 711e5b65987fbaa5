package jobs

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.json
var openAPI []byte

// OpenAPI describes what workers ask of a queue, as OpenAPI 3.1 in JSON. It is the same for the same program, to the byte; who gets it must not change it.
func OpenAPI() []byte { return openAPI }

// describe answers with the description of what workers ask. It says nothing of any queue, so that no token is needed.
func describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI) // who asked may have gone
}
