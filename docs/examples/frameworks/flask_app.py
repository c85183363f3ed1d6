"""
A Flask application that shows and awaits results.

    COATCHECK_URL=sqlite:///results.db flask --app flask_app run
"""

from flask import Flask, jsonify, request

import coatcheck

app = Flask(__name__)
results = coatcheck.by_url()  # the URL is in COATCHECK_URL; all threads share this object


@app.get("/tasks/<task_id>")
def outcome(task_id):
    """
    Return the outcome. Wait for it, but no longer than `?wait=` seconds.
    """
    wait = min(request.args.get("wait", 0, type=float), 30)
    value = results.AsyncResult(task_id).get(timeout=wait, missing="raise")
    return jsonify(status="done", value=value)


@app.errorhandler(coatcheck.UnknownTaskError)
def unknown(error):
    """
    Answer for an id that was never seen.
    """
    return jsonify(error=str(error)), 404


@app.errorhandler(coatcheck.WaitTimeoutError)
def running(_error):
    """
    Answer for a task that is not over yet.
    """
    return jsonify(status="running"), 202


@app.errorhandler(coatcheck.TaskError)
def failed(error):
    """
    Answer for a task that failed.
    """
    return jsonify(status="failed", error=str(error)), 422
