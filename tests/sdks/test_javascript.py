"""The JavaScript SDK: its own tests, and its package as those get it who install it."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.sdks import node
from tests.sdks.conftest import Server

TEST_FILES = sorted(
    path.relative_to(node.PACKAGE) for path in node.PACKAGE.glob("test/**/*.test.ts")
)
README = (node.PACKAGE / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```js\n(.+?)^```", README, flags=re.DOTALL | re.MULTILINE)
# It needs a page: the voice page's tests have one.
(PAGE_EXAMPLE,) = re.findall(r"^```ts\n(.+?)^```", README, flags=re.DOTALL | re.MULTILINE)
LOCAL = {"http://localhost:8080": "api_url", "ws://localhost:8000": "ws_url"}

# As the documents have it.
SEED = """\
import { AIVideoAssistant } from '@ai-video-assistant/sdk';

const assistant = new AIVideoAssistant({
  apiUrl: 'http://localhost:8080',
  wsUrl: 'ws://localhost:8000'
});

// 创建助手
const result = await assistant.create({
  name: '客服助手',
  prompt: '你是一个友好的客服助手'
});

// 开始对话
const conversation = await assistant.connect(result.id);
conversation.on('response', (text) => {
  console.log('助手回复:', text);
});
"""

# What the user of the snippet does: says something and goes.
SAY = """
await conversation.sendText('你好');
await conversation.close();
"""

IMPORTS = """\
import { AIVideoAssistant, NotFoundError } from "@ai-video-assistant/sdk";
"""
REQUIRES = """\
const { AIVideoAssistant, NotFoundError } = require("@ai-video-assistant/sdk");
"""
USE = """
const assistant = new AIVideoAssistant({ apiUrl: process.env.AI_VIDEO_ASSISTANT_URL });
assistant.assistants.get("nobody").catch((error) => {
  console.log(error instanceof NotFoundError, error.code);
});
"""
TYPED_USE = """
const assistant = new AIVideoAssistant();
export async function use(): Promise<string> {
  const { id } = await assistant.create({ name: "Typed" });
  const conversation = await assistant.connect(id);
  conversation.on("response", (text: string) => text.length);
  // @ts-expect-error There is no such field.
  await assistant.create({ nom: "Typed" });
  return conversation.sendText("Hello");
}
"""


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it would be published."""
    node.require_node()
    node.run("scripts/build.mjs")
    folder = tmp_path_factory.mktemp("packed")
    node.run(node.NPM, "pack", "--ignore-scripts", "--silent", "--pack-destination", folder)
    (packed,) = folder.glob("*.tgz")
    return packed


@pytest.fixture(scope="module")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the package."""
    folder = tmp_path_factory.mktemp("empty")
    (folder / "package.json").write_text('{ "private": true }')
    node.run(node.NPM, "install", "--offline", "--silent", tarball, cwd=folder)
    assert [path.name for path in (folder / "node_modules").glob("[!.]*/*")] == ["sdk"]
    return folder


@pytest.fixture(scope="module")
def results(tarball: Path, server: Server, worker: None) -> dict[str, list[dict[str, Any]]]:
    """What became of every test of Node's runner, by file; all run in one process."""
    command = [
        "--test",
        "--test-isolation=none",
        "--test-timeout=60000",
        "--test-reporter=./test/reporter.mjs",
        *map(str, TEST_FILES),
    ]
    done = subprocess.run(
        [str(node.NODE), *command],
        cwd=node.PACKAGE,
        env={**server.environment, "AI_VIDEO_ASSISTANT_URL": server.api_url},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    by_file = defaultdict(list)
    for line in done.stdout.splitlines():
        if line.startswith('{"name"'):
            result = json.loads(line)
            by_file[Path(result["file"]).name].append(result)
    assert by_file, f"{done.stdout}\n{done.stderr}"
    return by_file


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda path: path.name)
def test_it_passes_its_tests_in_node(results: dict[str, list[dict[str, Any]]], file: Path) -> None:
    failures = [f"{each['name']}\n{each['error']}" for each in results[file.name] if each["error"]]
    assert results[file.name]
    assert not failures, "\n\n".join(failures)


def test_its_types_hold() -> None:
    node.require_node()
    # The source as well; that it needs no types of Node's, the build shows.
    node.run("node_modules/typescript/bin/tsc", "--project", "test/tsconfig.json")


@pytest.mark.parametrize(
    ("name", "code"), [("use.mjs", IMPORTS + USE), ("use.cjs", REQUIRES + USE)], ids=["esm", "cjs"]
)
def test_it_is_imported_and_required(installed: Path, server: Server, name: str, code: str) -> None:
    (installed / name).write_text(code)
    environment = {**server.environment, "AI_VIDEO_ASSISTANT_URL": server.api_url}
    said = node.run(name, cwd=installed, environment=environment)
    assert said == "true ASSISTANT_NOT_FOUND\n"


def test_it_has_types_however_it_is_imported(installed: Path) -> None:
    files = {
        "use.mts": IMPORTS + TYPED_USE,
        "use.cts": IMPORTS + TYPED_USE,
        "page.mts": PAGE_EXAMPLE,
    }
    for name, code in files.items():
        (installed / name).write_text(code)
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext"]
    node.run(node.PACKAGE / "node_modules/typescript/bin/tsc", *options, *files, cwd=installed)


def test_its_types_need_no_browser(installed: Path) -> None:
    (installed / "server.mts").write_text(IMPORTS + TYPED_USE)
    types = node.PACKAGE / "node_modules" / "@types"
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext"]
    node_only = [
        "--lib",
        "es2022",
        "--types",
        "node",
        "--typeRoots",
        types,
        "--skipLibCheck",
        "false",
    ]
    compiler = node.PACKAGE / "node_modules/typescript/bin/tsc"
    node.run(compiler, *options, *node_only, "server.mts", cwd=installed)


def test_it_packs_what_is_needed_and_nothing_else(tarball: Path) -> None:
    listed = subprocess.run(["tar", "-tzf", tarball], capture_output=True, text=True, check=True)
    names = {name.removeprefix("package/") for name in listed.stdout.split()}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "package.json"} <= names
    rest = {name for name in names if "/" in name}
    assert all(re.fullmatch(r"dist/(esm|cjs)/.+\.(js|d\.ts|map|json)", name) for name in rest)


def test_the_documents_snippet_runs_unchanged(installed: Path, server: Server) -> None:
    code = located(SEED, server) + SAY
    (installed / "seed.mjs").write_text(code, encoding="utf-8")
    said = node.run("seed.mjs", cwd=installed, environment=server.environment, timeout_s=30)
    assert re.fullmatch(r"助手回复: \S.*\n", said, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_of_its_readme_runs(
    installed: Path, server: Server, worker: None, number: int
) -> None:
    name = f"example{number}.mjs"
    (installed / name).write_text(located(EXAMPLES[number], server), encoding="utf-8")
    said = node.run(name, cwd=installed, environment=server.environment, timeout_s=30)
    assert said != ""


def located(code: str, server: Server) -> str:
    """The code with the address of the server in place of the usual one."""
    for address, name in LOCAL.items():
        code = code.replace(address, getattr(server, name))
    return code
