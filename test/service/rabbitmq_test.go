package service

import (
	"context"
	"testing"
)

func TestRabbitMQComesBack(t *testing.T) {
	s := NewRabbitMQ(t)
	for _, stop := range []func(testing.TB){s.Stop, s.Kill} {
		stop(t)
		if err := s.answers(context.Background()); err == nil {
			t.Fatal("a server that was stopped answers")
		}
		s.Start(t)
	}
}
