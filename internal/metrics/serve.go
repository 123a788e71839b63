package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"bittern/internal/health"
)

// Handler answers /metrics with what is counted, and /healthz and /readyz with 200 or with 503
// and why.
func (s *Set) Handler(board *health.Board, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	// What can't be read is reported, and the rest is shown all the same.
	mux.Handle("GET /metrics", promhttp.InstrumentMetricHandler(s.registry, promhttp.HandlerFor(prometheus.Gatherer(s.registry), promhttp.HandlerOpts{
		ErrorLog: errorLog{log}, ErrorHandling: promhttp.ContinueOnError, Registry: s.registry, MaxRequestsInFlight: 4,
	})))
	mux.Handle("GET /healthz", answer(board.Healthy))
	mux.Handle("GET /readyz", answer(board.Ready))
	return mux
}

type errorLog struct{ log *slog.Logger }

func (l errorLog) Println(v ...any) { l.log.Error("metrics can't be read", "error", fmt.Sprint(v...)) }

func answer(ask func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if err := ask(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintln(w, "ok")
	})
}

// Server answers on an address until it is closed.
type Server struct {
	listener net.Listener
	http     *http.Server
	ended    chan error
}

// Listen begins to answer on a TCP address, host:port.
func Listen(address string, handler http.Handler) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for scrapes: %w (another address: --metrics, none: --metrics off)", err)
	}
	s := &Server{
		listener: l, ended: make(chan error, 1),
		// Who asks slowly must not hold anything.
		http: &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute},
	}
	go func() { s.ended <- s.http.Serve(l) }()
	return s, nil
}

// Address is where it answers.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Close ends it, and waits a moment for those who are being answered.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
