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
//	func (c *mine) Other(f string, value any) (any, error)  { … }  // every operation of banks, logs and tables
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
// After an error of the last kind the connection is closed, and opened again for the next operation.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Seat is where a client sits.
type Seat struct {
	Vocabulary string            // register, set, counter, list-append, rw-register, bank, fenced-mutex, log or table
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

// Run serves the harness with the clients that make makes, until it closes the standard input.
func Run(make func() Client) {
	out := os.Stdout
	// The client's own prints must not come between the answers.
	os.Stdout = os.Stderr
	say := func(line any) {
		text, err := json.Marshal(line)
		if err == nil {
			_, err = out.Write(append(text, '\n'))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	var client Client
	var seat Seat
	disconnect := func() {
		if client != nil {
			client.Close()
			client = nil
		}
	}
	defer disconnect()
	say(map[string]any{"type": "hello", "version": 1})
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.UseNumber()
		var request request
		if err := decoder.Decode(&request); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if request.Type == "close" {
			disconnect()
			continue
		}
		if request.Type == "open" {
			disconnect()
			seat = Seat{request.Vocabulary, request.Node, request.Address, request.Nodes, time.Duration(request.TimeoutMS) * time.Millisecond}
		}
		reply := answer{ID: request.ID, Type: "ok"}
		if client == nil {
			opened := make()
			if err := opened.Open(seat); err != nil {
				reply.Type, reply.Error = "fail", "cannot open the connection: "+err.Error()
				say(reply)
				continue
			}
			client = opened
		}
		if request.Type == "invoke" {
			value, err := do(client, request)
			var failed failure
			switch {
			case err == nil:
				reply.Value = value
			case errors.As(err, &failed):
				reply.Type, reply.Error, reply.Mismatch = "fail", failed.text, failed.mismatch
			default:
				reply.Type, reply.Error = "info", strings.TrimSpace(err.Error())
				disconnect()
			}
		}
		say(reply)
	}
}
