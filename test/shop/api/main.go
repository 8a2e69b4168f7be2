// Api is the shop's own service: orders go into PostgreSQL, what is read often
// into Redis, and a receipt of each into a directory. It is a module of its own,
// so that the clients of databases stay out of the program's go.mod.
//
//	api serve      answer HTTP at :8080
//	api migrate    make the tables, and end
//
// PGHOST and REDIS_ADDR say where the databases are, the file that
// PASSWORD_FILE names is the password of PostgreSQL. /hog/... uses what a
// service must not have, so that a test sees its limits hold.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: api serve|migrate")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, command string) error {
	switch command {
	case "serve":
		return serve(ctx)
	case "migrate":
		return migrate(ctx)
	default:
		return fmt.Errorf("there is no command %q; there are serve and migrate", command)
	}
}

// database returns how to connect to PostgreSQL.
func database() (*pgxpool.Config, error) {
	password, err := os.ReadFile(os.Getenv("PASSWORD_FILE"))
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig("user=postgres dbname=postgres sslmode=disable pool_max_conns=8")
	if err != nil {
		return nil, err
	}
	config.ConnConfig.Password = strings.TrimSpace(string(password))
	return config, nil
}

func migrate(ctx context.Context) error {
	config, err := database()
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `create table orders (id bigserial primary key, item text not null, quantity int not null check (quantity > 0))`)
	if err == nil {
		slog.Info("tables made", "database", config.ConnConfig.Host)
	}
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

func serve(ctx context.Context) error {
	config, err := database()
	if err != nil {
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	cache := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR")})
	defer cache.Close()

	s := &shop{orders: pool, cache: cache, receipts: os.Getenv("RECEIPTS"), password: config.ConnConfig.Password}
	server := &http.Server{Addr: ":8080", Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		patience, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		stopped <- server.Shutdown(patience)
	}()
	slog.Info("listening", "address", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
