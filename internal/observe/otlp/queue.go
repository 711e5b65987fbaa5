package otlp

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// queue exports spans that have ended, in batches, on a goroutine of its own. It differs from the SDK's batch processor in that it
// counts what it drops. The variables OTEL_BSP_… set it.
type queue struct {
	exporter sdk.SpanExporter
	logger   *slog.Logger
	spans    chan sdk.ReadOnlySpan
	most     int           // spans in a batch
	delay    time.Duration // between batches that are not full
	patience time.Duration // of one export

	exported, dropped, failed atomic.Int64

	closing sync.Once
	stop    chan struct{} // closed: no more spans are taken
	done    chan struct{} // closed: the goroutine has ended
	flush   chan chan struct{}
	ctx     context.Context // of exports
	cancel  context.CancelFunc
	failing bool // the goroutine's: the export before this failed
}

func newQueue(e sdk.SpanExporter, c *Config) *queue {
	q := &queue{
		exporter: e, logger: c.Logger,
		spans:    make(chan sdk.ReadOnlySpan, c.number("OTEL_BSP_MAX_QUEUE_SIZE", 4096)),
		most:     c.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512),
		delay:    c.millis("OTEL_BSP_SCHEDULE_DELAY", 5*time.Second),
		patience: c.millis("OTEL_BSP_EXPORT_TIMEOUT", 30*time.Second),
		stop:     make(chan struct{}), done: make(chan struct{}), flush: make(chan chan struct{}),
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	go q.run()
	return q
}

// OnStart implements sdk.SpanProcessor.
func (*queue) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements sdk.SpanProcessor. It never waits.
func (q *queue) OnEnd(s sdk.ReadOnlySpan) {
	select {
	case <-q.stop:
		q.dropped.Add(1)
		return
	default:
	}
	select {
	case q.spans <- s:
	default:
		q.dropped.Add(1)
	}
}

// ForceFlush implements sdk.SpanProcessor.
func (q *queue) ForceFlush(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case q.flush <- done:
	case <-q.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Shutdown implements sdk.SpanProcessor: it exports what is in the queue, for as long as ctx lasts.
func (q *queue) Shutdown(ctx context.Context) error {
	var err error
	q.closing.Do(func() {
		close(q.stop)
		select {
		case <-q.done:
		case <-ctx.Done():
			err = ctx.Err()
			q.cancel()
			<-q.done
		}
		q.cancel()
		_ = q.exporter.Shutdown(ctx) // it has nothing to export
	})
	return err
}

func (q *queue) run() {
	defer close(q.done)
	var batch []sdk.ReadOnlySpan
	timer := time.NewTimer(q.delay)
	defer timer.Stop()
	for {
		select {
		case s := <-q.spans:
			if batch = append(batch, s); len(batch) < q.most {
				continue
			}
		case <-timer.C:
		case done := <-q.flush:
			batch = q.rest(batch)
			close(done)
		case <-q.stop:
			q.rest(batch)
			q.dropped.Add(int64(len(q.spans))) // who ended a span at the same time
			return
		}
		batch = q.export(batch)
		timer.Reset(q.delay)
	}
}

// rest exports all that is in the queue.
func (q *queue) rest(batch []sdk.ReadOnlySpan) []sdk.ReadOnlySpan {
	for {
		select {
		case s := <-q.spans:
			if batch = append(batch, s); len(batch) == q.most {
				batch = q.export(batch)
			}
		default:
			return q.export(batch)
		}
	}
}

func (q *queue) export(batch []sdk.ReadOnlySpan) []sdk.ReadOnlySpan {
	if len(batch) == 0 {
		return batch
	}
	ctx, cancel := context.WithTimeout(q.ctx, q.patience)
	err := q.exporter.ExportSpans(ctx, batch)
	cancel()
	switch {
	case err != nil:
		q.failed.Add(int64(len(batch)))
		if !q.failing && q.logger != nil {
			q.logger.Warn("spans are not exported; they are dropped until the collector takes them again", "err", err)
		}
	default:
		q.exported.Add(int64(len(batch)))
		if q.failing && q.logger != nil {
			q.logger.Info("spans are exported again", "lost", q.failed.Load()+q.dropped.Load())
		}
	}
	q.failing = err != nil
	clear(batch)
	return batch[:0]
}

func (q *queue) stats() Stats {
	return Stats{Exported: q.exported.Load(), Dropped: q.dropped.Load(), Failed: q.failed.Load(), Queued: len(q.spans)}
}
