package harness

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"
)

// Sample is what a program held at a moment.
type Sample struct {
	At  time.Duration // since it was started
	RSS int64         // bytes; 0 where the system does not tell
	// Files are the sizes of the files that were asked for, in their order; 0 for one that is not there.
	Files []int64
}

// Watch runs a program as [Run] does, in a folder ("": this one), and takes a sample of its memory and of files every so often.
// end, if it is not 0, is when it is asked to stop, as by Ctrl-C; a program that then ends with 0 has ended well.
func Watch(ctx context.Context, folder string, every, end time.Duration, files []string, argv ...string) (Measurement, []Sample, error) {
	p := program{folder: folder, argv: argv}
	var samples []Sample
	p.meanwhile = func(pid int, over <-chan struct{}) {
		began, tick := time.Now(), time.NewTicker(every)
		defer tick.Stop()
		var stop <-chan time.Time
		if end > 0 {
			stop = time.After(end)
		}
		for {
			select {
			case <-over:
				return
			case <-stop:
				if running, err := os.FindProcess(pid); err == nil {
					_ = running.Signal(os.Interrupt)
				}
			case <-tick.C:
				s := Sample{At: time.Since(began), RSS: statusBytes(strconv.Itoa(pid), "VmRSS:"), Files: make([]int64, len(files))}
				for i, path := range files {
					if info, err := os.Stat(path); err == nil {
						s.Files[i] = info.Size()
					}
				}
				samples = append(samples, s)
			}
		}
	}
	m, err := p.run(ctx)
	return m, samples, err
}

// statusBytes reads a line in kB of /proc/<pid>/status; 0 where there is none.
func statusBytes(pid, line string) int64 {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(l, line); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kb * 1024
		}
	}
	return 0
}
