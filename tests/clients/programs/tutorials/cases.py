"""Runs the tutorials' programs as processes of their own: cases.py CASES_FILE"""
import os, subprocess, sys, tempfile, threading, time, traceback

HERE = os.path.dirname(os.path.abspath(__file__))
STARTED = []


class Program:
    def __init__(self, program, *arguments):
        self.lines = []
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, program + ".py"), *arguments], stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        STARTED.append(self)
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.take()))
        self.reader.start()

    def take(self):
        for line in self.process.stdout:
            print("   ", self.process.pid, line.rstrip(), flush=True)
            yield line.strip()

    def wait_for(self, text, count=1, seconds=15):
        end = time.time() + seconds
        while sum(text in line for line in self.lines) < count:
            assert time.time() < end, f"no {text!r} in {self.lines}"
            time.sleep(0.02)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()


def start(program, *arguments, ready="["):
    return Program(program, *arguments).wait_for(ready)


def finish(program, *arguments):
    p = Program(program, *arguments)
    assert p.process.wait(30) == 0, f"{program} failed"
    p.reader.join()
    return p.lines


def logs(p):
    return [line for line in p.lines if line.startswith("[x]")]


def eq(got, want):
    assert got == want, f"got {got}, want {want}"


def hello_world():
    r = start("receive")
    finish("send")
    r.wait_for("[x] Received b'Hello World!'")


def hello_world_sent_before_the_receiver():
    finish("send")
    start("receive").wait_for("[x] Received b'Hello World!'")


def work_queue_shares_by_prefetch_one():
    one, two = start("worker"), start("worker")
    finish("new_task", "slow....................", "a", "b", "c", "d", "e")
    end = time.time() + 15
    while sum("Done" in line for line in one.lines + two.lines) < 6:
        assert time.time() < end, "tasks are left"
        time.sleep(0.05)
    eq(sorted(sum("Done" in line for line in p.lines) for p in (one, two)), [1, 5])


def work_queue_redelivers_after_a_killed_worker():
    one = start("worker")
    finish("new_task", "hang", "next", "last")
    one.wait_for("Received hang first")
    two = start("worker")
    two.wait_for("Done last")
    one.kill()
    two.wait_for("Received hang again").wait_for("Done hang")
    eq([line for line in two.lines if "Received" in line], ["[x] Received next first", "[x] Received last first", "[x] Received hang again"])


def work_queue_waits_for_a_worker():
    finish("new_task", "1", "2", "3")
    w = start("worker").wait_for("Done 3")
    eq([line for line in w.lines if "Done" in line], ["[x] Done 1", "[x] Done 2", "[x] Done 3"])


def publish_and_subscribe():
    finish("emit_log", "logs", "fanout", "", "nobody hears")
    one, two = start("receive_logs", "logs", "fanout"), start("receive_logs", "logs", "fanout")
    finish("emit_log", "logs", "fanout", "", "both hear")
    for p in (one, two):
        p.wait_for("[x]")
        eq(logs(p), ["[x] :both hear"])
    one.kill()
    finish("emit_log", "logs", "fanout", "", "one hears")
    two.wait_for("[x] :one hears")


def direct_routing_with_two_keys():
    both, errors = start("receive_logs", "direct_logs", "direct", "warning", "error"), start("receive_logs", "direct_logs", "direct", "error")
    for key in ("info", "warning", "error"):
        finish("emit_log", "direct_logs", "direct", key, "text")
    both.wait_for("[x] error")
    errors.wait_for("[x] error")
    eq((logs(both), logs(errors)), (["[x] warning:text", "[x] error:text"], ["[x] error:text"]))


def topics():
    table = {"user.#": ["user", "user.a", "user.a.critical"], "*.critical": ["user.critical", "kern.critical"], "#": None}
    keys = ["user", "user.a", "kern", "user.critical", "critical", "user.a.critical", "kern.critical", "end.critical", "user.end"]
    programs = {key: start("receive_logs", "topic_logs", "topic", key) for key in table}
    for key in keys:
        finish("emit_log", "topic_logs", "topic", key, "x")
    programs["#"].wait_for("[x] user.end")
    programs["user.#"].wait_for("[x] user.end")
    programs["*.critical"].wait_for("[x] end.critical")
    eq(logs(programs["#"]), [f"[x] {k}:x" for k in keys])
    eq(logs(programs["user.#"]), [f"[x] {k}:x" for k in keys if k.split(".")[0] == "user"])
    eq(logs(programs["*.critical"]), [f"[x] {k}:x" for k in keys if k.count(".") == 1 and k.endswith(".critical")])


def request_and_reply():
    start("rpc_server")
    start("rpc_server")
    eq(finish("rpc_client", "0", "1", "10", "20"), [f"[.] Got {n}" for n in (0, 1, 55, 6765)])


def exchange_to_exchange():
    eq(finish("exchange_to_exchange"), ["[x] announcements sales:to sales"] * 2)


def headers_all():
    p = start("receive_logs", "header_logs", "headers", "x-match=all,format=pdf,type=report")
    finish("emit_log", "header_logs", "headers", "", "part", "format=pdf")
    finish("emit_log", "header_logs", "headers", "", "other", "format=pdf", "type=log")
    finish("emit_log", "header_logs", "headers", "", "match", "format=pdf", "type=report", "more=1")
    p.wait_for("[x]")
    eq(logs(p), ["[x] :match"])


def publisher_confirms():
    eq(finish("publisher_confirms"), ["[x] Confirmed 500", "[x] Returned"])


CASES = [hello_world, hello_world_sent_before_the_receiver, work_queue_shares_by_prefetch_one, work_queue_redelivers_after_a_killed_worker,
         work_queue_waits_for_a_worker, publish_and_subscribe, direct_routing_with_two_keys, topics, request_and_reply, exchange_to_exchange,
         headers_all, publisher_confirms]
with open(sys.argv[1], "w") as out:
    for function in CASES:
        began, verdict = time.time(), "PASS"
        print(function.__name__, flush=True)
        try:
            function()
        except BaseException:
            verdict = "FAIL"
            traceback.print_exc(file=sys.stdout)
        for program in STARTED:
            program.kill()
        STARTED.clear()
        time.sleep(0.2)  # the broker sees the killed ones go
        out.write(f"{verdict} {function.__name__}\n")
        out.flush()
        print(f"{verdict} {function.__name__} {time.time() - began:.2f}s", flush=True)
