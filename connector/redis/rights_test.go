package redis

import (
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestRightsSuffice: what docs/redis.md says that a user needs is enough.
func TestRightsSuffice(t *testing.T) {
	server := service.NewRedis(t, append(service.RedisSaves, "user default on nopass ~* &* +@all")...)
	admin := on(t, server)
	as := func(rights string) *fixture {
		user := name()
		admin.do(t, append([]string{"ACL", "SETUSER", user, "on", ">pw", "-@all", "+ping"}, strings.Fields(rights)...)...)
		f := through(t, server.URL())
		f.config.User, f.config.Password, f.config.Fsync = text(user), penstock.NewSecret("pw"), true
		f.c = client(t, rueidis.ClientOption{InitAddress: []string{server.Address()}, ForceSingleClient: true})
		return f
	}
	writes := func(f *fixture, c SinkConfig) {
		t.Helper()
		if err := drive.Opened(t, f.sink(t, c)).Write(t.Context(), drive.Batch("x", 0, drive.Numbered(0, 3)...)); err != nil {
			t.Error(err)
		}
	}
	writes(as("+xadd ~orders"), SinkConfig{Stream: text("orders")})
	writes(as("+lpush +config|get ~parcels"), SinkConfig{List: text("parcels")})
	writes(as("+set +del ~k"), SinkConfig{Set: text("k")})

	reads := func(f *fixture, c SourceConfig) {
		t.Helper()
		s := f.source(t, c)
		if err := s.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		all := drive.Read(t, s, 3)
		drive.SettleAll(t, s, all[:2]...)
		switch s := s.(type) { // what is done now and then
		case *positioned:
			r := s.reader
			r.say(t.Context(), r.ids(func(*entry) bool { return true }), 0)
			if err := r.claim(t.Context(), true); err != nil {
				t.Error(err)
			}
		case *queue:
			if err := s.beat(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	reads(as("+xgroup +xreadgroup +xack +xclaim +xautoclaim ~orders"), SourceConfig{Stream: text("orders")})
	if n := admin.pending(t, "orders", "flow-step"); n != 1 {
		t.Errorf("%d are pending", n)
	}
	reads(as("+lmove +blmove +lrange +lrem +llen +time +zadd +zrangebyscore +zremrangebyscore +multi +exec ~parcels ~{parcels}:*"), SourceConfig{List: text("parcels")})
	m := admin.do(t, "LLEN", "parcels")
	if n, err := m.AsInt64(); n != 1 || err != nil {
		t.Errorf("%d are back, %v", n, err)
	}
	listener := as("+subscribe +psubscribe &news &news.*")
	s := drive.Opened(t, listener.source(t, SourceConfig{Channels: []penstock.Template{text("news")}, Patterns: []penstock.Template{text("news.*")}}))
	writes(as("+publish &news"), SinkConfig{Channel: text("news")})
	drive.Compare(t, drive.Bodies(drive.Read(t, s, 3)), drive.Numbered(0, 3))
}
