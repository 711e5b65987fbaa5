package file

import (
	"fmt"
	"strings"

	"penstock.dev/penstock"
)

// SinkConfig is the configuration of the sink.
type SinkConfig struct {
	// The file to write. It may vary by message, as in `out/${body.day}.jsonl`: each message goes to the file that its own path names.
	// Missing folders are made. What a message puts into the path can't lead upwards, nor begin at the root: `..` and `/` are allowed only at the
	// beginning, before anything that varies by message.
	Path penstock.Template `json:"path" penstock:"required,place=plain"`
	// How messages are written. Default: by the suffix of the name, .json, .jsonl and .ndjson are json, .csv is csv, .txt
	// and .log are text; with any other suffix, JSON documents, one a line.
	Format penstock.Format `json:"format"`
	// How the file is compressed: auto (by the suffix: .gz is gzip, .zst is zstd, all else is none), none, gzip or zstd. A file that is
	// appended to gets a gzip member or zstd frame for each time that it is made durable; readers take them for one stream.
	Compression string `json:"compression" penstock:"enum=auto|none|gzip|zstd,default=auto"`
	// What becomes of a file that is there already. Default: replace; in a run that keeps state, append.
	//
	// replace: what this run writes takes the place of the file, in one step, when it is complete: when it is rotated, else when the run
	// ends. Until then it is called `<name>.partial`, in the same folder, and what was flushed is safe there. A run that was killed leaves that
	// file lying; the next run reads its inputs again from the beginning and begins it anew, so that nothing is lost and nothing is there twice.
	// A run that keeps state does not read its inputs again, so it refuses to replace, rotated or not: what earlier runs wrote would be lost.
	//
	// append: go on after the last whole record of the file. What a crash tore behind it is moved to `<name>.torn`, with a warning.
	// Formats with an end (a JSON array) and other character encodings than UTF-8 can't be appended to.
	Mode string `json:"mode" penstock:"enum=replace|append"`
	// When to begin another file. The files are then numbered, before the suffix: orders-000001.jsonl, orders-000002.jsonl. Numbers go on
	// after the highest that is there, so that no run touches the complete files of another; with mode append the file with the highest number is
	// gone on with, unless it is complete by these rules.
	Rotate Rotate `json:"rotate"`
	// How many files may be open at a time, where the path varies. One more makes the one that was not written to
	// for longest durable and closes it; it is opened again when needed, and completed like all others. Every path takes some hundred
	// bytes of memory until the run ends.
	MaxOpen int `json:"maxOpen" penstock:"min=1,default=64"`
}

// Rotate says when a file is complete. What comes first counts.
type Rotate struct {
	// The size in bytes, after compression, at which a file is complete: it ends with the record with which it reaches it. A
	// compressed file may go over by what the compressor holds back.
	Size penstock.Size `json:"size" penstock:"min=1"`
	// How long after its first record a file is complete, also when no more messages come.
	Interval penstock.Duration `json:"interval" penstock:"min=1s"`
	// How many records make a file complete.
	Records int64 `json:"records" penstock:"min=1"`
}

func (r Rotate) isZero() bool { return r == Rotate{} }

// check looks at what the compiler has checked already, for those who make a sink without it.
func (c *SinkConfig) check() error {
	bad := func(path, msg string) error { return penstock.E(penstock.Config, "file", path, msg) }
	switch c.Compression {
	case "", "auto", "none", "gzip", "zstd":
	default:
		return bad("compression", fmt.Sprintf("%q is not auto, none, gzip or zstd", c.Compression))
	}
	switch c.Mode {
	case "", "replace", "append":
	default:
		return bad("mode", fmt.Sprintf("%q is not replace or append", c.Mode))
	}
	if c.Rotate.Size < 0 || c.Rotate.Interval < 0 || c.Rotate.Records < 0 {
		return bad("rotate", "a rule is negative")
	}
	return nil
}

// beginsFixed reports whether a template begins with something that is the same for all messages.
func beginsFixed(source string) bool {
	return !strings.HasPrefix(source, "${") || strings.HasPrefix(strings.TrimLeft(source[2:], " \t"), "params.")
}
