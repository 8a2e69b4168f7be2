package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

type shop struct {
	orders   *pgxpool.Pool
	cache    *redis.Client
	receipts string // directory
	password string
}

type order struct {
	ID       int64  `json:"id"`
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
}

func (s *shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", answer(s.health))
	mux.HandleFunc("POST /orders", answer(s.place))
	mux.HandleFunc("GET /orders/{id}", answer(s.look))
	mux.HandleFunc("GET /sold/{item}", answer(s.sold))
	mux.HandleFunc("POST /print-password", answer(s.printPassword))
	mux.HandleFunc("POST /hog/memory", answer(hogMemory))
	mux.HandleFunc("POST /hog/cpu", answer(hogCPU))
	mux.HandleFunc("POST /hog/pids", answer(hogPids))
	return mux
}

// answer is a handler of what returns a value for JSON, or an error.
func answer(handle func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		value, err := handle(r)
		if err != nil {
			slog.Error("request failed", "path", r.URL.Path, "error", err)
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(value); err != nil {
			slog.Error("answer lost", "path", r.URL.Path, "error", err)
		}
	}
}

func (s *shop) health(r *http.Request) (any, error) {
	if err := s.orders.Ping(r.Context()); err != nil {
		return nil, err
	}
	return "well", s.cache.Ping(r.Context()).Err()
}

// place puts an order into PostgreSQL, counts it in Redis and writes its receipt.
func (s *shop) place(r *http.Request) (any, error) {
	var o order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		return nil, err
	}
	err := s.orders.QueryRow(r.Context(), "insert into orders (item, quantity) values ($1, $2) returning id", o.Item, o.Quantity).Scan(&o.ID)
	if err != nil {
		return nil, err
	}
	if err := s.cache.IncrBy(r.Context(), "sold:"+o.Item, int64(o.Quantity)).Err(); err != nil {
		return nil, err
	}
	receipt := fmt.Sprintf("%d %s\n", o.Quantity, o.Item)
	return o, os.WriteFile(filepath.Join(s.receipts, strconv.FormatInt(o.ID, 10)), []byte(receipt), 0o600)
}

// look reads an order from PostgreSQL, and its receipt.
func (s *shop) look(r *http.Request) (any, error) {
	rows, err := s.orders.Query(r.Context(), "select id, item, quantity from orders where id = $1", r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	o, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[order])
	if err != nil {
		return nil, err
	}
	receipt, err := os.ReadFile(filepath.Join(s.receipts, strconv.FormatInt(o.ID, 10)))
	return map[string]any{"order": o, "receipt": string(receipt)}, err
}

func (s *shop) sold(r *http.Request) (any, error) {
	return s.cache.Get(r.Context(), "sold:"+r.PathValue("item")).Int64()
}

// printPassword is a mistake that services make.
func (s *shop) printPassword(*http.Request) (any, error) {
	fmt.Printf("connecting with password=%s to the database\n", s.password)
	return "printed", nil
}
