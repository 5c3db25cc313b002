import time
from tests.contract.house import *
def test_x(house, furnished, tmp_path):
    d = house.dump()
    print({k: len(v) for k,v in d.items()})
    for p in ("/v2/messages","/v2/dlq","/v2/events?count=3"):
        a = house.ask("GET", p); print(a.status, len(a.body))
    t=time.time()
    for i in range(100): house.dump()
    print("dump", (time.time()-t)/100)
    t=time.time()
    for i in range(200): house.ask("GET","/v2/messages/x")
    print("ask", (time.time()-t)/200)
    print(house.ask("POST", "/v2/publish/https://example.com/", b"x"))
    assert house.dump() != d
    t=time.time()
    with copied(furnished, tmp_path/"b"): pass
    print("open", time.time()-t)
