package crash_test

import (
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"

	"penstock.dev/penstock/test/service"
)

// TestReplicasOutliveAFullDisk: the disk of the server is full, first for its tables, then for its log. The replicas say so, acknowledge nothing that they then lose, and go on by themselves
// when there is room.
func TestReplicasOutliveAFullDisk(t *testing.T) {
	pad := make([]byte, 24<<10)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(pad)
	for _, folder := range []string{"base", "pg_wal"} {
		t.Run(folder, func(t *testing.T) {
			server, disk := service.NewPostgresOnSmallDisk(t, folder, 80)
			r := newPadded(t, server.URI("postgres"), "2s", 2, base64.StdEncoding.EncodeToString(pad)) // nothing that could be compressed
			r.more(50)
			disk.Fill(t)
			r.until("it is said that the disk is full", func() bool {
				for _, p := range r.peers {
					if strings.Contains(p.said.String(), "the disk of the server is full") {
						return true
					}
				}
				return false
			})
			disk.Free(t)
			r.more(50)
			for _, p := range r.peers {
				select {
				case <-p.over:
					t.Fatalf("it has ended:\n%s", p.said.String())
				default:
				}
			}
			r.check()
			r.stopAll()
		})
	}
}
