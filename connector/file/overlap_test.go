package file

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock"
)

func TestOverlaps(t *testing.T) {
	rotated := Rotate{Records: 10}
	for _, c := range []struct {
		name    string
		from    SourceConfig
		to      SinkConfig
		resumes bool
		want    string // in the error; "" for none
	}{
		{"the same file", SourceConfig{Path: text0("a.jsonl")}, SinkConfig{Path: text0("a.jsonl"), Mode: "append"}, false, "appended to a.jsonl is read from it"},
		{"the same, written in another way", SourceConfig{Path: text0("in/../a.jsonl")}, SinkConfig{Path: text0("./a.jsonl"), Mode: "append"}, false, "appended to a.jsonl"},
		{"append is the default where state is kept", SourceConfig{Path: text0("a.jsonl")}, SinkConfig{Path: text0("a.jsonl")}, true, "appended to a.jsonl"},
		{"replaced when it was read", SourceConfig{Path: text0("a.jsonl")}, SinkConfig{Path: text0("a.jsonl")}, false, ""},
		{"another file", SourceConfig{Path: text0("a.jsonl")}, SinkConfig{Path: text0("b.jsonl"), Mode: "append"}, false, ""},
		{"a pattern", SourceConfig{Path: text0("in/*.jsonl")}, SinkConfig{Path: text0("in/out.jsonl"), Mode: "append"}, false, "in/*.jsonl finds it"},
		{"a pattern, replaced", SourceConfig{Path: text0("in/*.jsonl")}, SinkConfig{Path: text0("in/out.jsonl")}, false, "the next run would read in/out.jsonl"},
		{"a pattern of folders", SourceConfig{Path: text0("**/*.csv")}, SinkConfig{Path: text0("out/day/a.csv"), Mode: "append"}, false, "**/*.csv finds it"},
		{"everything below", SourceConfig{Path: text0("in/**")}, SinkConfig{Path: text0("in/out/a.csv"), Mode: "append"}, false, "in/** finds it"},
		{"above the pattern", SourceConfig{Path: text0("../in/*")}, SinkConfig{Path: text0("../out/a"), Mode: "append"}, false, ""},
		{"below the pattern", SourceConfig{Path: text0("in/*.csv")}, SinkConfig{Path: text0("in/out/a.csv"), Mode: "append"}, false, ""},
		{"another suffix", SourceConfig{Path: text0("in/*.csv")}, SinkConfig{Path: text0("in/a.jsonl"), Mode: "append"}, false, ""},
		{"hidden", SourceConfig{Path: text0("in/*")}, SinkConfig{Path: text0("in/.log"), Mode: "append"}, false, ""},
		{"a numbered file", SourceConfig{Path: text0("out-*.jsonl")}, SinkConfig{Path: text0("out.jsonl"), Rotate: rotated}, true, "appended to out-000001.jsonl"},
		{"numbered, so not this one", SourceConfig{Path: text0("out.jsonl")}, SinkConfig{Path: text0("out.jsonl"), Rotate: rotated}, true, ""},
		{"what is marked is not found", SourceConfig{Path: text0("in/*"), After: &After{Mark: ".done"}}, SinkConfig{Path: text0("in/a.done"), Mode: "append"}, false, ""},
		{"a path that varies", SourceConfig{Path: text0("in/*")}, SinkConfig{Path: field("path"), Mode: "append"}, false, ""},
		{"absolute and relative", SourceConfig{Path: text0("/in/*")}, SinkConfig{Path: text0("in/a"), Mode: "append"}, false, ""},
		{"a parameter", SourceConfig{Path: text0("in/*")}, SinkConfig{Path: param(), Mode: "append"}, false, "in/from-params is read again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := penstock.Env{Resumes: c.resumes, Runtime: &penstock.Runtime{Params: []penstock.Value{penstock.StringValue("in")}}}
			err := c.from.Overlaps(&c.to, env)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if err := (SourceConfig{Path: text0("a")}).Overlaps(&LookupConfig{}, penstock.Env{}); err != nil {
		t.Error("what is no sink does not overlap:", err)
	}
}

// param is the folder that the first parameter names.
func param() penstock.Template {
	return penstock.Template{Source: "${params.drop}/from-params", Constant: true, Program: program(func(f *penstock.Frame) penstock.Value {
		return penstock.StringValue(f.Runtime.Params[0].Str() + "/from-params")
	})}
}

// TestMatchesWhatIsFound: what a pattern is said to match is what it finds in folders.
func TestMatchesWhatIsFound(t *testing.T) {
	dir := t.TempDir()
	names := []string{"a.csv", "b.jsonl", ".hidden.csv", "a.csv.partial", "sub/c.csv", "sub/deep/d.csv", ".sub/e.csv", "sub/.deep/f.csv"}
	for i, name := range names {
		names[i] = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(names[i]), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(names[i], nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(names)
	for _, path := range []string{"*", "*.csv", "?.csv", "[ab]*", "**", "**/*", "**/*.csv", "sub/*", "sub/**", "*/*.csv", "*/**/*.csv", ".*", ".sub/*", "**/.*", "**/deep/*", "s[u]b/*/d.csv", "none/*"} {
		path = filepath.Join(dir, path)
		found, err := expand(path, "", nil)
		if err != nil && penstock.CodeOf(err) != penstock.NotFound {
			t.Fatal(err)
		}
		var matched []string
		for _, name := range names {
			if newPattern(path).matches(name) {
				matched = append(matched, name)
			}
		}
		if !slices.Equal(found, matched) {
			t.Errorf("%s finds %q, is said to match %q", path, found, matched)
		}
	}
}
