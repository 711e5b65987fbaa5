package control_test

import (
	"runtime/debug"
	"testing"

	"penstock.dev/penstock/internal/control"
)

func TestVersionOf(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}, {Key: "vcs.time", Value: "2026-01-05T09:00:00Z"},
	}}
	v := control.VersionOf(info, "")
	if v.Version != "v1.2.3" || v.Commit != "abc" || !v.Modified || v.Date != "2026-01-05T09:00:00Z" {
		t.Errorf("got %+v", v)
	}
	if v := control.VersionOf(info, "v9"); v.Version != "v9" {
		t.Errorf("a stamp gives %+v", v)
	}
	info.Main.Version = "(devel)"
	for _, i := range []*debug.BuildInfo{nil, info} {
		if v := control.VersionOf(i, ""); v.Version != "development" {
			t.Errorf("no version gives %+v", v)
		}
	}
}
