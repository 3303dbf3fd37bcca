"""An MCP server over stdio with two tools, for tests of clients: a notebook that ends with the process.

    python3 notes_mcp.py

One JSON-RPC message a line.  What a client asks that is not known here is an error, never silence."""
import json
import sys

TOOLS = [
    {"name": "add", "description": "Adds a note to the notebook.",
     "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}},
                     "required": ["text"]}},
    {"name": "list", "description": "Lists the notes of the notebook.",
     "inputSchema": {"type": "object", "properties": {}}},
]


def call(notes, name, arguments):
    if name == "add":
        notes.append(arguments["text"])
        return "added"
    return "\n".join(f"{i}. {note}" for i, note in enumerate(notes, 1))


def answer(notes, method, params):
    """The result of a request; None where the method is not known."""
    if method == "initialize":
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "notes", "version": "1"}}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        text = call(notes, params["name"], params.get("arguments", {}))
        return {"content": [{"type": "text", "text": text}]}
    return None


def main():
    notes = []
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:  # a notification
            continue
        result = answer(notes, asked["method"], asked.get("params", {}))
        told = {"error": {"code": -32601, "message": "unknown method"}} if result is None else {
            "result": result}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **told}), flush=True)


if __name__ == "__main__":
    main()
