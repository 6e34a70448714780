// A client of a system under test, for duress: one file, the standard library alone, Go 1.21 or later.
//
// Copy it beside your own file of package main, which has a type with the methods of the vocabularies that the manifest says
// the client speaks, and calls Run:
//
//	type mine struct{ connection net.Conn }
//
//	func (c *mine) Open(seat Seat) error                    { … }  // connect to seat.Address, within seat.Timeout
//	func (c *mine) Read(key string) (any, error)            { … }  // nil if there is no value
//	func (c *mine) Write(key string, value any) error       { … }
//	func (c *mine) Cas(key string, before, after any) error { … }  // Mismatch() where the value is not before
//	func (c *mine) Add(key string, value any) error         { … }  // of sets and counters
//	func (c *mine) Txn(operations []any) ([]any, error)     { … }  // of transactions: with the answers of reads filled in
//	func (c *mine) Acquire(key string, lease any) (any, error) { … } // of locks: the fencing token
//	func (c *mine) Release(key string, token any) error     { … }
//	func (c *mine) Other(f string, value any) (any, error)  { … }  // every operation of banks, logs, tables, streams and jobs
//	func (c *mine) Close()                                  { … }
//
//	func main() { Run(func() Client { return &mine{} }) }
//
// Numbers are json.Number, so that they are written as they were read. An operation that returns no error was done. Else:
//
//	Fail      it certainly was not done and never will be: nothing was sent, or the system refused it;
//	Mismatch  a comparison failed, which is a Fail;
//	any other it may have been done: no answer in time, a connection that broke. In Open it is a Fail.
//
// After an error of the last kind, and after a panic, the connection is closed, and opened again for the next operation.
//
// With `processes = "per-host"` in the manifest one process serves several clients, each on a goroutine of its own.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// Seat is where a client sits.
type Seat struct {
	Vocabulary string            // of its operations, as the manifest's `speaks` names it
	Node       string            // the name of its node
	Address    string            // the address of its node, as host:port
	Nodes      map[string]string // the addresses of all nodes, by name
	Timeout    time.Duration     // how long an operation may take
}

// Client is a client of one node. It also has a method for each operation.
type Client interface {
	Open(seat Seat) error
	Close()
}

type reader interface{ Read(key string) (any, error) }
type writer interface {
	Write(key string, value any) error
}
type swapper interface {
	Cas(key string, before, after any) error
}
type adder interface {
	Add(key string, value any) error
}

type transactor interface {
	Txn(operations []any) ([]any, error)
}

type locker interface {
	Acquire(key string, lease any) (any, error)
	Release(key string, token any) error
}

type other interface {
	Other(f string, value any) (any, error)
}

type failure struct {
	text     string
	mismatch bool
}

func (f failure) Error() string { return f.text }

// Fail is the error of an operation that certainly was not done, and never will be.
func Fail(text string) error { return failure{text: text} }

// Mismatch is the error of a comparison that failed.
func Mismatch() error { return failure{text: "the comparison failed", mismatch: true} }

type request struct {
	Type       string            `json:"type"`
	ID         uint64            `json:"id"`
	Client     uint64            `json:"client"`
	Vocabulary string            `json:"vocabulary"`
	Node       string            `json:"node"`
	Address    string            `json:"address"`
	Nodes      map[string]string `json:"nodes"`
	TimeoutMS  int64             `json:"timeout_ms"`
	F          string            `json:"f"`
	Key        any               `json:"key"`
	Value      any               `json:"value"`
}

type answer struct {
	ID       uint64 `json:"id"`
	Client   uint64 `json:"client,omitempty"` // of a process that serves several, counted from 1
	Type     string `json:"type"`
	Value    any    `json:"value,omitempty"`
	Error    string `json:"error,omitempty"`
	Mismatch bool   `json:"mismatch,omitempty"`
}

func do(client Client, request request) (any, error) {
	key := ""
	if request.Key != nil {
		key = fmt.Sprint(request.Key)
	}
	switch request.F {
	case "read":
		if of, ok := client.(reader); ok && request.Value == nil {
			return of.Read(key)
		}
	case "write":
		if of, ok := client.(writer); ok {
			return nil, of.Write(key, request.Value)
		}
	case "cas":
		pair, isPair := request.Value.([]any)
		if of, ok := client.(swapper); ok && isPair && len(pair) == 2 {
			return nil, of.Cas(key, pair[0], pair[1])
		}
	case "add":
		if of, ok := client.(adder); ok {
			return nil, of.Add(key, request.Value)
		}
	case "txn":
		operations, areList := request.Value.([]any)
		if of, ok := client.(transactor); ok && areList {
			return of.Txn(operations)
		}
	}
	if of, ok := client.(locker); ok && request.F == "acquire" {
		return of.Acquire(key, request.Value)
	} else if ok && request.F == "release" {
		return nil, of.Release(key, request.Value)
	}
	if of, ok := client.(other); ok {
		return of.Other(request.F, request.Value)
	}
	return nil, Fail("the client has no method for " + request.F)
}

// session is one client after the other, as the harness opens and closes them.
type session struct {
	fresh  func() Client
	seat   Seat
	client Client
}

func (s *session) disconnect() {
	if client := s.client; client != nil {
		s.client = nil
		client.Close()
	}
}

func (s *session) carryOut(request request) (value any, err error) {
	defer func() {
		if why := recover(); why != nil {
			debug.PrintStack()
			err = fmt.Errorf("the client panicked: %v", why)
		}
	}()
	if s.client == nil {
		client := s.fresh()
		if err := client.Open(s.seat); err != nil {
			return nil, Fail("cannot open the connection: " + err.Error())
		}
		s.client = client
	}
	if request.Type == "open" {
		return nil, nil
	}
	return do(s.client, request)
}

func (s *session) answer(request request) answer {
	if request.Type == "open" {
		s.disconnect()
		s.seat = Seat{request.Vocabulary, request.Node, request.Address, request.Nodes, time.Duration(request.TimeoutMS) * time.Millisecond}
	}
	reply := answer{ID: request.ID, Client: request.Client}
	value, err := s.carryOut(request)
	var failed failure
	switch {
	case err == nil:
		reply.Type, reply.Value = "ok", value
	case errors.As(err, &failed):
		reply.Type, reply.Error, reply.Mismatch = "fail", failed.text, failed.mismatch
	default:
		reply.Type, reply.Error = "info", strings.TrimSpace(err.Error())
		s.disconnect()
	}
	return reply
}

func (s *session) serve(requests <-chan request, say func(any)) {
	defer s.disconnect()
	for request := range requests {
		if request.Type == "close" {
			s.disconnect()
		} else {
			say(s.answer(request))
		}
	}
}

// Run serves the harness with the clients that fresh makes, until it closes the standard input.
func Run(fresh func() Client) {
	out := os.Stdout
	// The client's own prints must not come between the answers.
	os.Stdout = os.Stderr
	var lock sync.Mutex
	say := func(line any) {
		text, err := json.Marshal(line)
		if err == nil {
			lock.Lock()
			defer lock.Unlock()
			_, err = out.Write(append(text, '\n'))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	say(map[string]any{"type": "hello", "version": 1})
	// One client, or several with a number each.
	clients := map[uint64]chan request{}
	var serving sync.WaitGroup
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.UseNumber()
		var next request
		if err := decoder.Decode(&next); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		requests, known := clients[next.Client]
		if !known {
			// The harness sends no third request before the first is answered.
			requests = make(chan request, 2)
			clients[next.Client] = requests
			serving.Add(1)
			go func() {
				defer serving.Done()
				(&session{fresh: fresh}).serve(requests, say)
			}()
		}
		requests <- next
		if next.Type == "close" && next.Client != 0 {
			delete(clients, next.Client)
			close(requests)
		}
	}
	for _, requests := range clients {
		close(requests)
	}
	serving.Wait()
}
