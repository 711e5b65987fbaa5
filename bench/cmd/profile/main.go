// Command profile is penstock with a profile of what it did: CPU_PROFILE and HEAP_PROFILE name the files. The heap is that of when it
// ends, with all that was ever allocated.
//
//	CPU_PROFILE=/tmp/cpu.pprof go run ./cmd/profile run flows/store-flow --param source=lines.jsonl
//	go tool pprof -top /tmp/cpu.pprof
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"runtime/pprof"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/cli"
	"penstock.dev/penstock/internal/control"
)

func main() {
	code, err := run(os.Getenv("CPU_PROFILE"), os.Getenv("HEAP_PROFILE"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		code = 1
	}
	os.Exit(code)
}

func run(cpu, heap string) (code int, err error) {
	if cpu != "" {
		f, createErr := os.Create(cpu) //nolint:gosec // the caller's own file
		if createErr != nil {
			return 1, createErr
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return 1, err
		}
		defer pprof.StopCPUProfile()
	}
	info, _ := debug.ReadBuildInfo()
	p := &cli.Program{
		Service: &control.Service{Registry: edition.Standard()},
		Version: control.VersionOf(info, "profile"),
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
	}
	code = p.Run(os.Args[1:])
	if heap == "" {
		return code, nil
	}
	f, err := os.Create(heap) //nolint:gosec // the caller's own file
	if err != nil {
		return code, err
	}
	return code, errors.Join(pprof.WriteHeapProfile(f), f.Close())
}
