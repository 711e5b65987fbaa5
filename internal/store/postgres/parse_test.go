package postgres

import "testing"

// TestParse: what is not said of a connection is what is safe.
func TestParse(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	for connection, want := range map[string]struct{ secured, writes bool }{
		"postgres://u@127.0.0.1:1/db":                               {false, false},
		"postgres://u@db.example:1/db":                              {true, false},
		"postgres://u@127.0.0.1:1,db.example:2/db":                  {true, true}, // the second one is not this machine
		"postgres://u@127.0.0.1:1,localhost:2/db?sslmode=disable":   {false, true},
		"postgres://u@a.example:1,b.example:2/db?sslmode=disable":   {false, true},
		"host=a.example,b.example user=u dbname=db":                 {true, true},
		"host=db.example user=u dbname=db sslmode=disable":          {false, false},
		"postgres://u@a.example/db?target_session_attrs=read-write": {true, true},
	} {
		cfg, err := parse(connection)
		if err != nil {
			t.Errorf("%s: %v", connection, err)
			continue
		}
		secured := cfg.TLSConfig != nil && !cfg.TLSConfig.InsecureSkipVerify && cfg.TLSConfig.ServerName == cfg.Host
		for _, f := range cfg.Fallbacks {
			if want.secured && (f.TLSConfig == nil || f.TLSConfig.InsecureSkipVerify) {
				t.Errorf("%s: %s may be reached without a certificate", connection, f.Host)
			}
		}
		if cfg.Host != "127.0.0.1" && secured != want.secured {
			t.Errorf("%s: secured is %t", connection, secured)
		}
		if writes := cfg.ValidateConnect != nil; writes != want.writes {
			t.Errorf("%s: it asks for a server that takes writes: %t", connection, writes)
		}
	}
}
