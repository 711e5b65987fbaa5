package control

import (
	"runtime"
	"runtime/debug"

	"penstock.dev/penstock/internal/resource"
)

// Version says which build a binary is.
type Version struct {
	Version  string `json:"version"`            // v1.2.3, or "development"
	Commit   string `json:"commit,omitempty"`   // of the source
	Date     string `json:"date,omitempty"`     // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"` // the source was changed after the commit
	Language string `json:"language"`           // the apiVersion that it reads
	Go       string `json:"go"`
	Platform string `json:"platform"` // os/arch
}

// VersionOf reads what the Go tool left in the binary; info may be nil. A stamped version, put in
// by the linker, stands before the module's.
func VersionOf(info *debug.BuildInfo, stamped string) Version {
	v := Version{Version: stamped, Language: resource.APIVersion, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info != nil {
		if v.Version == "" && info.Main.Version != "(devel)" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.time":
				v.Date = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	if v.Version == "" {
		v.Version = "development"
	}
	return v
}
