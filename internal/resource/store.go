package resource

import (
	"net/url"
	"regexp"
	"slices"
)

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,47}$`)

// check refuses fields of the other driver, and a password where everybody reads it.
func (s *Store) check(d *Decoder) {
	of := map[string][]string{"sqlite": {"path", "reserve"}, "postgres": {"url", "password", "schema", "lease", "volatile"}}
	for driver, fields := range of {
		if driver == s.Driver || !slices.Contains([]string{"sqlite", "postgres"}, s.Driver) {
			continue
		}
		for _, f := range fields {
			if s.Has(f) {
				d.errorf(s.AtKey(f), "wrong-field", f, "leave it out, or write `driver: "+driver+"`", "`%s` has no meaning with driver %s", f, s.Driver)
			}
		}
	}
	if s.Driver != "postgres" {
		return
	}
	const example = "write it as in postgres://penstock@db.example.com:5432/penstock"
	switch u, err := url.Parse(s.URL); {
	case !s.Has("url") || s.URL == "":
		d.errorf(s.AtKey("driver"), "missing-field", "url", "add `url: postgres://penstock@db.example.com:5432/penstock`", "driver postgres needs `url`: where the server is")
	case err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql":
		d.errorf(s.At("url"), "wrong-value", "", example, "`url` is the URI of a PostgreSQL server")
	default:
		if _, has := u.User.Password(); has || u.Query().Has("password") {
			// It is not repeated in the message.
			d.errorf(s.At("url"), "literal-secret", "", "take it out of the URI, and write `password: { secret: <name> }`", "a password is a secret, which is never written into a file")
		}
	}
	if !schemaName.MatchString(s.Schema) {
		d.errorf(s.At("schema"), "wrong-name", clip(s.Schema), "write small letters, digits and _, as in penstock_shop", "`schema` is no name of a schema: %q", clip(s.Schema))
	}
}
