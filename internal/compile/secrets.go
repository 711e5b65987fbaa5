package compile

import (
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// defaultProvider is asked where the Integration names none.
const defaultProvider = "env"

// compileProviders decodes the configuration of the Integration's providers of secrets.
func (c *compiler) compileProviders() {
	var providers resource.Secrets
	if in := c.set.Integration(); in != nil {
		providers = in.Secrets
	}
	if _, ok := c.reg.Lookup(penstock.KindOfSecrets, defaultProvider); ok && len(providers) == 0 {
		providers = resource.Secrets{{Name: defaultProvider, Config: &resource.Node{Kind: resource.NodeMap}}}
	}
	for _, p := range providers {
		drv, config := c.decoder.DecodeConfig(c.reg, penstock.KindOfSecrets, p.Name, p.Pos, p.Config)
		if drv == nil {
			continue
		}
		d := &driverConfig{c: c, role: "secrets", exprs: c.exprs(), scope: c.paramScope(), diags: c.diags}
		d.compile(config)
		source := string(p.Config.JSON())
		for i, param := range c.set.Params { // which of them it reads is not worth knowing
			source += fmt.Sprintf(" %s=%v", param.Name, c.plan.Params[i])
		}
		c.plan.SecretProviders = append(c.plan.SecretProviders, &plan.SecretProvider{Driver: drv, Config: config, Pos: p.Pos, Source: source})
	}
}
