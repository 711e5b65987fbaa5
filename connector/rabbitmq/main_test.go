package rabbitmq

import (
	"os"
	"testing"

	"penstock.dev/penstock/test/service"
)

func TestMain(m *testing.M) {
	service.Main()
	os.Exit(m.Run())
}
